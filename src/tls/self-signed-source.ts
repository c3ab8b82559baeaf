import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { readCertificate, type CertificateFacts, type KeyPair } from "./certificate.ts";
import { renewalTime, timerMs } from "./policy.ts";
import { machineNames, renewSelfSigned, selfSignedPair } from "./self-signed.ts";
import type { CertificateSource, Identity } from "./source.ts";
import type { CertificateStore } from "./store/store.ts";

/** Where the store keeps the certificate; nobody can own this name (.internal is reserved). */
export const SELF_SIGNED = "self-signed.internal";

export interface SelfSignedParts {
  /** Empty for the machine's own names and addresses. */
  names: readonly string[];
  store: CertificateStore;
  clock: Clock;
  log: Log;
  onChange: (identities: readonly Identity[]) => void;
}

/**
 * A certificate of the relay's own making. Its key stays for as long as the data directory does, so that
 * its pin does; only the certificate is made anew, when it runs out or the names change.
 *
 * @throws {Problem} if the store cannot be used, or a name cannot stand in a certificate
 */
export async function keepSelfSigned(parts: SelfSignedParts): Promise<CertificateSource> {
  const { store, clock, log, onChange } = parts;
  const names = parts.names.length > 0 ? parts.names : machineNames();
  let { pair, facts } = await current();
  let timer: Timer | undefined;
  watch();

  async function current(): Promise<{ pair: KeyPair; facts: CertificateFacts }> {
    await using _ = await store.lock(SELF_SIGNED);
    const kept = await store.certificate(SELF_SIGNED);
    const known = kept && readCertificate(kept.chainPem);
    if (kept !== undefined && known !== undefined && !isDue(known)) {
      if (names.every((name) => known.names.includes(name))) return { pair: kept, facts: known };
    }
    const options = { names, nowMs: clock.wall() };
    const made = kept === undefined ? selfSignedPair(options) : renewSelfSigned(kept, options);
    await store.saveCertificate(SELF_SIGNED, made);
    return { pair: made, facts: readCertificate(made.chainPem) };
  }

  /** One that is not valid yet was made before the clock was set back. */
  function isDue(certificate: CertificateFacts): boolean {
    const now = clock.wall();
    return certificate.notBefore > now || renewalTime(certificate, undefined, 0) <= now;
  }

  function watch(): void {
    timer = clock.after(timerMs(clock.wall(), renewalTime(facts, undefined, 0)), () => {
      if (!isDue(facts)) watch();
      else void renew().finally(watch);
    });
  }

  async function renew(): Promise<void> {
    try {
      ({ pair, facts } = await current());
      onChange(identities());
    } catch (error) {
      log.error(`The self-signed certificate cannot be made anew: ${messageOf(error)}`);
    }
  }

  const identities = () => [{ names: facts.names, ...pair }];
  return {
    identities,
    reports: () => [
      {
        subject: names[0] ?? SELF_SIGNED,
        names: facts.names,
        certificate: facts,
        renewAt: renewalTime(facts, undefined, 0),
      },
    ],
    reload() {},
    close() {
      timer?.cancel();
      return Promise.resolve();
    },
  };
}
