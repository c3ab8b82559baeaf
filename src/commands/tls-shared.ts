import { systemClock } from "../base/clock.ts";
import { Problem, UsageError } from "../base/errors.ts";
import { createLog, type Log } from "../base/log.ts";
import { openStore, type CertificateStore } from "../tls/store/store.ts";
import { certificateStore } from "./certificate-parts.ts";
import { defineOptions, type Config } from "./options.ts";
import { configOption, dataDirOption, logLevelOption } from "./shared-options.ts";

/** What every command that uses the certificates of a relay on this machine takes. */
export const storeOptions = defineOptions({
  dataDir: { ...dataDirOption, help: "The relay's data directory" },
  logLevel: logLevelOption,
  config: { ...configOption("serve"), help: "TOML file whose table [serve] gives the same settings" },
});

export interface Opened {
  store: CertificateStore;
  log: Log;
  clock: typeof systemClock;
}

/** Opens the store that a command was told to use. */
export function openFor(config: Config<typeof storeOptions>): Opened {
  const log = createLog(config.logLevel);
  return { store: certificateStore(config.dataDir, { clock: systemClock, log }), log, clock: systemClock };
}

/**
 * A store for what is not to be kept, in a folder that the caller removes. Challenges go to the relay's
 * own store, from which a relay that holds port 80 answers them.
 */
export function scratchStore(dir: string, { store, clock, log }: Opened): CertificateStore {
  const scratch = openStore(dir, clock, { log });
  return {
    prove: () => scratch.prove(),
    domains: () => scratch.domains(),
    certificate: (domain) => scratch.certificate(domain),
    saveCertificate: (domain, pair) => scratch.saveCertificate(domain, pair),
    dropCertificate: (domain) => scratch.dropCertificate(domain),
    state: (domain) => scratch.state(domain),
    saveState: (domain, state) => scratch.saveState(domain, state),
    pendingOrder: (domain) => scratch.pendingOrder(domain),
    savePendingOrder: (domain, order) => scratch.savePendingOrder(domain, order),
    dropPendingOrder: (domain) => scratch.dropPendingOrder(domain),
    account: (directoryUrl) => scratch.account(directoryUrl),
    saveAccount: (directoryUrl, account) => scratch.saveAccount(directoryUrl, account),
    retireAccount: (directoryUrl) => scratch.retireAccount(directoryUrl),
    lock: (name, signal) => scratch.lock(name, signal),
    challenge: (token) => store.challenge(token),
    saveChallenge: (token, keyAuthorization) => store.saveChallenge(token, keyAuthorization),
    dropChallenge: (token) => store.dropChallenge(token),
  };
}

/** The domains that are named, else all that are stored. @throws {UsageError} if there are none */
export async function domainsOf(
  named: readonly string[] | undefined,
  store: CertificateStore,
): Promise<readonly string[]> {
  if (named !== undefined) return named;
  const stored = await store.domains();
  if (stored.length > 0) return stored;
  throw new UsageError("Cannot tell which domain is meant: none is stored here", {
    action: "Name it with --domain, or the relay's data directory with --data-dir",
  });
}

/** The one text for "there is no certificate". */
export function noCertificate(domain: string, dataDir: string): Problem {
  return new Problem(`Cannot find a certificate for ${domain} in "${dataDir}"`, {
    action: `Get one with: modelrelay tls issue --domain ${domain}`,
  });
}
