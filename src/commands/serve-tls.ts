import type { TlsDoorConfig, TlsDoorParts } from "../server/tls-door.ts";
import { followFiles } from "../tls/file-source.ts";
import { keepCertificates } from "../tls/ca-source.ts";
import { keepSelfSigned } from "../tls/self-signed-source.ts";
import { acmeOptionsOf, authorityOf, certificateStore, type Parts } from "./certificate-parts.ts";
import type { ServeConfig } from "./serve-options.ts";
import type { TlsMode } from "./tls-options.ts";

/** A year, as browsers' own lists of such names ask for. */
const HSTS_SECS = 31_536_000;

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
