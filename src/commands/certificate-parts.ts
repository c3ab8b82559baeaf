import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { renewalInfo } from "../tls/acme/ari.ts";
import { issueCertificate } from "../tls/acme/issue.ts";
import type { AcmeOptions } from "../tls/acme/types.ts";
import type { Authority } from "../tls/keeper.ts";
import { openStore, type CertificateStore } from "../tls/store/store.ts";
import { readAuthorities } from "./ca-file.ts";
import { directoryOf, type AcmeConfig } from "./tls-options.ts";

export interface Parts {
  clock: Clock;
  log: Log;
}

/** Certificates and the ACME account, in the data directory. */
export function certificateStore(dataDir: string, { clock, log }: Parts): CertificateStore {
  return openStore(join(dataDir, "tls"), clock, { log });
}

/** @throws {UsageError} if a file that is named cannot be read */
export function acmeOptionsOf(config: AcmeConfig, { clock, log }: Parts): AcmeOptions {
  const { email, acmeCaFile, acmeEabKid: kid, acmeEabKey: hmacKey } = config;
  return {
    directoryUrl: directoryOf(config),
    clock,
    log,
    ...(email !== undefined && { email }),
    ...(acmeCaFile !== undefined && { caPem: readAuthorities(acmeCaFile, "acme-ca-file", "acme-ca-file") }),
    ...(kid !== undefined && hmacKey !== undefined && { eab: { kid, hmacKey } }),
  };
}

export function authorityOf(store: CertificateStore, options: AcmeOptions): Authority {
  return {
    directoryUrl: options.directoryUrl,
    issue: (names, extra) => issueCertificate(names, store, options, extra),
    renewalInfo: (ariId, signal) => renewalInfo(ariId, options, signal),
  };
}
