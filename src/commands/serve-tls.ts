import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { messageOf, UsageError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { TlsDoorConfig, TlsDoorParts } from "../server/tls-door.ts";
import { followFiles } from "../tls/file-source.ts";
import { issueCertificate, renewalInfo, type AcmeOptions } from "../tls/issue.ts";
import type { Authority } from "../tls/keeper.ts";
import { keepCertificates } from "../tls/manager.ts";
import { keepSelfSigned } from "../tls/self-signed-source.ts";
import { openStore, type CertificateStore } from "../tls/store.ts";
import type { ServeConfig } from "./serve-options.ts";
import { directoryOf, type AcmeConfig, type TlsMode } from "./tls-options.ts";

/** A year, as browsers' own lists of such names ask for. */
const HSTS_SECS = 31_536_000;

interface Parts {
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
    ...(acmeCaFile !== undefined && { caPem: readCertificates(acmeCaFile) }),
    ...(kid !== undefined && hmacKey !== undefined && { eab: { kid, hmacKey } }),
  };
}

function readCertificates(path: string): string {
  let text;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UsageError(`Cannot read "${path}" (acme-ca-file): ${messageOf(error)}`);
  }
  if (text.includes("-----BEGIN CERTIFICATE-----")) return text;
  throw new UsageError(`Cannot use "${path}" (acme-ca-file): it holds no certificate in PEM`);
}

export function authorityOf(store: CertificateStore, options: AcmeOptions): Authority {
  return {
    directoryUrl: options.directoryUrl,
    issue: (names, extra) => issueCertificate(names, store, options, extra),
    renewalInfo: (ariId, signal) => renewalInfo(ariId, options, signal),
  };
}

/** What the relay's HTTPS door needs, for the way in which it is to get its certificates. */
export function tlsParts(
  mode: TlsMode,
  config: ServeConfig,
  parts: Parts,
): Pick<TlsDoorParts, "config" | "open" | "challenge"> {
  const door = doorConfig(mode, config);
  const store = certificateStore(config.dataDir, parts);
  switch (mode) {
    case "acme": {
      const authority = authorityOf(store, acmeOptionsOf(config, parts));
      return {
        config: door,
        open: (onChange) =>
          keepCertificates(config.domain ?? [], {
            ...parts,
            store,
            authority,
            random: Math.random,
            onChange,
          }),
        challenge: (token) => store.challenge(token),
      };
    }
    case "files": {
      const { tlsCert: certFile = "", tlsKey: keyFile = "" } = config;
      return {
        config: door,
        open: (onChange) => followFiles({ ...parts, certFile, keyFile, onChange }),
        challenge: noChallenge,
      };
    }
    case "self-signed":
      return {
        config: door,
        open: (onChange) => keepSelfSigned({ ...parts, names: config.domain ?? [], store, onChange }),
        challenge: noChallenge,
      };
  }
}

const noChallenge = () => Promise.resolve(undefined);

function doorConfig(mode: TlsMode, config: ServeConfig): TlsDoorConfig {
  return {
    https: config.httpsPort,
    http: config.httpPort === "off" ? undefined : config.httpPort,
    httpIsNeeded: mode === "acme",
    http2: config.http2,
    http3: config.http3,
    hstsSecs: config.hsts ? HSTS_SECS : 0,
  };
}
