import { systemClock } from "../base/clock.ts";
import { createLog, LOG_LEVELS, type Log } from "../base/log.ts";
import { Problem, UsageError } from "../base/errors.ts";
import { openStore, type CertificateStore } from "../tls/store/store.ts";
import { certificateStore } from "./certificate-parts.ts";
import { defaultDataDir } from "./data-dir.ts";
import { defineOptions } from "./options.ts";
import { onOff, oneOf, path } from "./value-kinds.ts";

/** What every command that uses the certificates of a relay on this machine takes. */
export const storeOptions = defineOptions({
  dataDir: {
    env: "MODELRELAY_DATA_DIR",
    default: defaultDataDir,
    defaultText: "the platform's place; /var/lib/modelrelay under systemd",
    hint: "DIR",
    help: "The relay's data directory",
    schema: path,
  },
  logLevel: {
    env: "LOG_LEVEL",
    default: "info",
    hint: "LEVEL",
    help: "Least serious lines that are written to stderr",
    schema: oneOf(LOG_LEVELS),
  },
  config: {
    env: "MODELRELAY_CONFIG",
    inFile: false,
    hint: "FILE",
    help: "TOML file whose table [serve] gives the same settings",
    schema: path,
  },
});

export const jsonOption = defineOptions({
  json: { kind: "switch", default: "false", inFile: false, help: "Print JSON", schema: onOff },
});

export interface Opened {
  store: CertificateStore;
  log: Log;
  clock: typeof systemClock;
}

export function openFor(config: { dataDir: string; logLevel: (typeof LOG_LEVELS)[number] }): Opened {
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
