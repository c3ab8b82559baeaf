import { UsageError } from "../base/errors.ts";
import { createTrustedProxies } from "../server/trusted-proxy.ts";
import { parseDomain } from "../tls/domain-name.ts";
import { defineOptions, type Config } from "./options.ts";
import {
  httpAddress,
  label,
  listenAddress,
  onOff,
  path,
  secret,
  splitList,
  textKind,
  type ListenAddress,
} from "./value-kinds.ts";

/** Let's Encrypt's directories (https://letsencrypt.org/docs/acme-protocol-updates/). */
export const LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory";
export const LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory";

/** It says itself what is wrong with a name, and what to do. */
const domains = textKind("one or more host names such as relay.example.com", (text) => [
  ...new Set(splitList(text).map(parseDomain)),
]);

function portAddress(text: string): ListenAddress | undefined {
  const plain = /^\d{1,5}$/.test(text.trim()) ? `:${text.trim()}` : text;
  const read = listenAddress.safeParse(plain);
  return read.success ? read.data : undefined;
}

const port = textKind("a port, or HOST:PORT such as 192.0.2.7:443", portAddress);

const portOrOff = textKind("a port, HOST:PORT, or off", (text) =>
  text.trim().toLowerCase() === "off" ? ("off" as const) : portAddress(text),
);

/** Whom certificates come from; the same for `serve --tls` and the `tls` commands. */
export const acmeOptions = defineOptions({
  domain: {
    env: "MODELRELAY_DOMAIN",
    kind: "list",
    hint: "NAME",
    help: "Host name to have a certificate for; several are each given one, and the first is the main one",
    schema: domains,
  },
  email: {
    env: "ACME_EMAIL",
    hint: "ADDRESS",
    help: "Where the CA can write to about the account",
    schema: textKind("an address such as ops@example.com", (text) =>
      /^[^\s@,]+@[^\s@,]+$/.test(text.trim()) ? text.trim() : undefined,
    ),
  },
  acmeDirectory: {
    env: "ACME_DIRECTORY",
    hint: "URL",
    help: "Directory of the CA (ACME, RFC 8555)",
    defaultText: "Let's Encrypt's",
    schema: httpAddress,
  },
  acmeStaging: {
    env: "ACME_STAGING",
    kind: "switch",
    default: "false",
    help: "Use Let's Encrypt's staging CA: no limits to speak of, and trusted by nobody",
    schema: onOff,
  },
  acmeCaFile: {
    env: "ACME_CA_FILE",
    hint: "FILE",
    help: "Certificates (PEM) to trust for a private CA's own HTTPS",
    schema: path,
  },
  acmeEabKid: {
    env: "ACME_EAB_KID",
    hint: "ID",
    help: "Key identifier, for a CA that binds accounts to one on its site",
    schema: label(500),
  },
  acmeEabKey: {
    env: "ACME_EAB_KEY",
    secret: true,
    hint: "KEY",
    help: "HMAC key in base64url that belongs to --acme-eab-kid",
    schema: secret,
  },
});

export const httpPortOption = defineOptions({
  httpPort: {
    env: "HTTP_PORT",
    default: "80",
    hint: "[HOST:]PORT",
    help: "Where the CA's questions are answered and everybody else is sent to HTTPS; off for neither",
    schema: portOrOff,
  },
});

/** Ports, certificates of others, and how HTTPS is served. */
export const tlsOptions = defineOptions({
  tls: {
    env: "MODELRELAY_TLS",
    kind: "switch",
    default: "false",
    help: "Serve HTTPS with certificates for --domain, got and renewed without another program",
    schema: onOff,
  },
  ...acmeOptions,
  httpsPort: {
    env: "HTTPS_PORT",
    default: "443",
    hint: "[HOST:]PORT",
    help: "Where HTTPS is served",
    schema: port,
  },
  ...httpPortOption,
  tlsCert: {
    env: "TLS_CERT",
    hint: "FILE",
    help: "Serve HTTPS with this certificate and its chain (PEM), and take up a new one when the file changes",
    schema: path,
  },
  tlsKey: { env: "TLS_KEY", hint: "FILE", help: "Private key (PEM) of --tls-cert", schema: path },
  tlsSelfSigned: {
    env: "TLS_SELF_SIGNED",
    kind: "switch",
    default: "false",
    help: "Serve HTTPS with a certificate of the relay's own making, which workers trust by the pin that is printed",
    schema: onOff,
  },
  hsts: {
    env: "HSTS",
    kind: "switch",
    default: "false",
    help: "Tell browsers to use HTTPS alone for this name for a year",
    schema: onOff,
  },
  http2: {
    env: "HTTP2",
    kind: "switch",
    default: "true",
    help: "Offer HTTP/2 beside HTTP/1.1 on the HTTPS port",
    schema: onOff,
  },
  http3: {
    env: "HTTP3",
    kind: "switch",
    default: "false",
    help: "Offer HTTP/3 (UDP) on the HTTPS port's number; experimental",
    schema: onOff,
  },
  trustedProxy: {
    env: "TRUSTED_PROXY",
    kind: "list",
    default: "none",
    hint: "CIDR",
    help: "Proxies whose X-Forwarded-For or Forwarded tells a client's address",
    schema: textKind("none, or networks or addresses such as 10.0.0.0/8", (text) => {
      const list = text.trim() === "none" ? [] : splitList(text);
      // It says itself what is wrong with a network.
      createTrustedProxies(list);
      return list;
    }),
  },
});

export type AcmeConfig = Config<typeof acmeOptions>;
export type TlsConfig = Config<typeof tlsOptions>;
type Origins = Partial<Record<keyof TlsConfig, string>>;

/** Where HTTPS certificates come from; `undefined` where HTTPS is not served. */
export type TlsMode = "acme" | "files" | "self-signed";

export function tlsModeOf(config: TlsConfig): TlsMode | undefined {
  if (config.tlsCert !== undefined || config.tlsKey !== undefined) return "files";
  if (config.tlsSelfSigned) return "self-signed";
  return config.tls ? "acme" : undefined;
}

export function directoryOf({ acmeDirectory, acmeStaging }: AcmeConfig): string {
  return acmeDirectory ?? (acmeStaging ? LETS_ENCRYPT_STAGING : LETS_ENCRYPT);
}

/** @throws {UsageError} if settings about the CA exclude each other, or one lacks another */
export function checkAcme(config: AcmeConfig, from: Origins): void {
  if (config.acmeDirectory?.startsWith("http:") === true) {
    throw new UsageError(
      `Cannot use "${config.acmeDirectory}" as acme-directory (${from.acmeDirectory}): a CA is asked by https alone`,
      { action: "Give the https:// address of the CA's directory; for a private CA see --acme-ca-file" },
    );
  }
  if (config.acmeDirectory !== undefined && config.acmeStaging) {
    throw new UsageError(
      `Cannot use acme-directory (${from.acmeDirectory}) and acme-staging (${from.acmeStaging}) together: each names a CA`,
      { action: "Keep one of them" },
    );
  }
  if ((config.acmeEabKid === undefined) !== (config.acmeEabKey === undefined)) {
    const [given, missing] =
      config.acmeEabKid === undefined ? (["key", "kid"] as const) : (["kid", "key"] as const);
    throw new UsageError(
      `Cannot use acme-eab-${given} without acme-eab-${missing}: they are one credential`,
      {
        action: `Add --acme-eab-${missing}`,
      },
    );
  }
}

/** @throws {UsageError} if settings about HTTPS make no sense together */
export function checkTls(config: TlsConfig, from: Origins): void {
  checkAcme(config, from);
  const mode = tlsModeOf(config);
  if ((config.tlsCert === undefined) !== (config.tlsKey === undefined)) {
    const [given, missing] = config.tlsCert === undefined ? ["tls-key", "tls-cert"] : ["tls-cert", "tls-key"];
    throw new UsageError(
      `Cannot use ${given} without ${missing}: a certificate and its key belong together`,
      {
        action: `Add --${missing} FILE`,
      },
    );
  }
  if (mode === "files" && config.tlsSelfSigned) {
    throw new UsageError(
      `Cannot use tls-cert (${from.tlsCert}) and tls-self-signed (${from.tlsSelfSigned}) together: each gives the certificate`,
      { action: "Keep one of them" },
    );
  }
  if (mode === "acme") checkOrdering(config);
  else refuseStray(config, from, mode);
}

function checkOrdering(config: TlsConfig): void {
  if (config.domain === undefined) {
    throw new UsageError("Cannot use --tls without --domain: a certificate is for a name", {
      action:
        "Add --domain relay.example.com, a name whose DNS record leads to this machine; without one, see --tls-self-signed",
    });
  }
  if (config.httpPort === "off") {
    throw new UsageError("Cannot use --tls with --http-port off: the CA asks on port 80 who owns the name", {
      action: "Leave --http-port away, or bring a certificate of your own with --tls-cert and --tls-key",
    });
  }
}

/**
 * Whoever writes one of these on the command line expects HTTPS, and would get plain HTTP. Variables are
 * not looked at: some platforms set such names for everybody.
 */
function refuseUnserved(config: TlsConfig, from: Origins): void {
  const given = (["httpsPort", "httpPort", "hsts", "http3"] as const).find(
    (key) => from[key]?.startsWith("flag ") === true && config[key] !== false,
  );
  if (given === undefined) return;
  throw new UsageError(`Cannot use ${from[given]}: HTTPS is not served`, {
    action: "Add --tls with --domain, --tls-cert with --tls-key, or --tls-self-signed",
  });
}

/** A setting without effect is a mistake that would be found late. */
function refuseStray(config: TlsConfig, from: Origins, mode: TlsMode | undefined): void {
  if (mode === undefined) refuseUnserved(config, from);
  const forOrders = ["email", "acmeDirectory", "acmeCaFile", "acmeEabKid"] as const;
  const stray = [...forOrders, ...(mode === "self-signed" ? [] : (["domain"] as const))].find(
    (key) => config[key] !== undefined,
  );
  if (stray !== undefined) {
    throw new UsageError(`Cannot use ${from[stray]}: no certificate is ordered without --tls`, {
      action: mode === undefined ? "Add --tls" : "Leave it away, or use --tls alone",
    });
  }
}
