import { oneLine } from "./one-line.ts";

/** What is known of the certificate that was refused, and of the clock that judged it. */
export interface SeenCertificate {
  /** DNS names and IP addresses that it is for. */
  names?: readonly string[];
  /** For people, such as `Let's Encrypt R11`. */
  issuer?: string;
  /** Milliseconds since the epoch. */
  notBefore?: number;
  notAfter?: number;
  /** What this machine's clock says, in ms since the epoch. */
  now?: number;
}

export interface TlsFailure {
  /** Which rule failed, for which name, as the end of a sentence: `its certificate has expired …`. */
  message: string;
  /** What to do about it; one sentence without a final period. */
  action: string;
}

interface Subject extends SeenCertificate {
  /** `relay.example.com`, or words that stand for a name that must not be told. */
  host: string;
}

type Wording = (seen: Subject) => TlsFailure;

const MAX_NAMES = 5;
const MAX_TEXT = 100;

const shown = (text: string): string => oneLine(text, MAX_TEXT);

/** The first names of a certificate, on one line. */
export function shownNames(names: readonly string[]): string {
  const first = names.slice(0, MAX_NAMES).map(shown).join(", ");
  return names.length > MAX_NAMES ? `${first} and ${names.length - MAX_NAMES} more` : first;
}

function shownTime(ms: number | undefined): string | undefined {
  return ms !== undefined && Number.isFinite(ms) && Math.abs(ms) <= 8.64e15
    ? `${new Date(ms).toISOString().slice(0, 16).replace("T", " ")} UTC`
    : undefined;
}

function fixed(message: string, action: string): Wording {
  return () => ({ message, action });
}

const by = (issuer: string | undefined) => (issuer === undefined ? "" : ` (issued by ${shown(issuer)})`);

const unknownAuthority: Wording = ({ issuer }) => ({
  message: `its certificate comes from an authority that this machine does not trust${by(issuer)}`,
  action:
    "If the authority is your own, name its certificate with --ca-file; if not, something may stand in between: look at what answers there",
});

const selfSigned: Wording = ({ host }) => ({
  message: "its certificate is self-signed, so that no authority vouches for it",
  action: `Get one from a public authority (modelrelay serve --tls --domain ${host}), or let workers trust this one by its key (--pin sha256/…, as the relay prints it)`,
});

const incomplete: Wording = ({ issuer }) => ({
  message: `nothing connects its certificate${by(issuer)} with an authority that this machine trusts: intermediate certificates are missing`,
  action:
    "Let the server send the whole chain (fullchain.pem of certbot, not cert.pem); if the issuer is an authority of your own, name its certificate with --ca-file",
});

const expired: Wording = ({ host, notAfter, now }) => {
  const until = shownTime(notAfter);
  const clock = shownTime(now);
  return {
    message: `its certificate has expired${until === undefined ? "" : ` on ${until}`}${clock === undefined ? "" : ` (the clock here says ${clock})`}`,
    action: `Renew it where TLS ends for ${host}, and let that server load it; if the date is still to come, set the clock of this machine`,
  };
};

const notYetValid: Wording = ({ notBefore, now }) => {
  const from = shownTime(notBefore);
  const clock = shownTime(now);
  return {
    message: `its certificate is not valid yet${from === undefined ? "" : `, only from ${from} on`}${clock === undefined ? "" : ` (the clock here says ${clock})`}`,
    action: "Set the clock of this machine, or that of the machine which made the certificate",
  };
};

const otherName: Wording = ({ host, names }) => ({
  message:
    names === undefined
      ? `its certificate is for another name than ${host}`
      : names.length === 0
        ? `its certificate names nothing, so that it is not for ${host}`
        : `its certificate is for ${shownNames(names)}, not for ${host}`,
  action: `Use an address that the certificate names, or let the server present one for ${host}; another server or a proxy's default site may be what answers there`,
});

const revoked = fixed(
  "its certificate was revoked by its authority",
  "Get a new one (modelrelay tls issue, or certbot), with a new key if the old one may have leaked",
);

const plainHttp: Wording = ({ host }) => ({
  message: "it does not speak TLS on this port; plain HTTP often answers so",
  action: `Check the port: https usually has 443. If ${host} is meant to be plain, write http:// in the address`,
});

const oldVersion = fixed(
  "it speaks no version of TLS that this program does (1.2 or 1.3)",
  "Turn TLS 1.2 and 1.3 on in the server or the proxy",
);

const noHandshake: Wording = ({ host }) => ({
  message: "the TLS handshake failed: it refused what this program offered",
  action: `Look into the log of the server for the reason; it may have no certificate for ${host}, or ask clients for one`,
});

const noName: Wording = ({ host }) => ({
  message: `it has no certificate for ${host}`,
  action: `Add ${host} to the names that the server or proxy serves, and get a certificate for it`,
});

const wrongUse = fixed(
  "its certificate, or one above it, was not made for this use",
  "Make a server certificate (extendedKeyUsage serverAuth) that is signed by an authority's certificate (CA:TRUE)",
);

const weak = fixed(
  "its certificate has a key or a signature that is too weak",
  "Make a new one with a P-256 or an RSA key of 2048 bits and SHA-256",
);

const damaged = fixed(
  "its certificate or the chain above it is damaged",
  "Put the certificates into the file again, the server's own first and each followed by its issuer's",
);

/** By the codes that the runtime puts on errors: OpenSSL's names for verification, BoringSSL's for the handshake. */
const WORDING: Record<string, Wording> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: selfSigned,
  SELF_SIGNED_CERT_IN_CHAIN: unknownAuthority,
  UNABLE_TO_GET_ISSUER_CERT: unknownAuthority,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: unknownAuthority,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: incomplete,
  CERT_UNTRUSTED: unknownAuthority,
  CERT_REJECTED: unknownAuthority,
  CERT_HAS_EXPIRED: expired,
  CERT_NOT_YET_VALID: notYetValid,
  ERR_TLS_CERT_ALTNAME_INVALID: otherName,
  HOSTNAME_MISMATCH: otherName,
  IP_ADDRESS_MISMATCH: otherName,
  CERT_REVOKED: revoked,
  INVALID_PURPOSE: wrongUse,
  INVALID_CA: wrongUse,
  INVALID_NON_CA: wrongUse,
  PATH_LENGTH_EXCEEDED: wrongUse,
  KEYUSAGE_NO_CERTSIGN: wrongUse,
  CERT_CHAIN_TOO_LONG: damaged,
  CERT_SIGNATURE_FAILURE: damaged,
  ERROR_IN_CERT_NOT_BEFORE_FIELD: damaged,
  ERROR_IN_CERT_NOT_AFTER_FIELD: damaged,
  ERR_TLS_CERT_ALTNAME_FORMAT: damaged,
  EE_KEY_TOO_SMALL: weak,
  CA_KEY_TOO_SMALL: weak,
  CA_MD_TOO_WEAK: weak,
  ERR_SSL_WRONG_VERSION_NUMBER: plainHttp,
  ERR_SSL_HTTP_REQUEST: plainHttp,
  ERR_SSL_HTTPS_PROXY_REQUEST: plainHttp,
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: oldVersion,
  ERR_SSL_UNSUPPORTED_PROTOCOL: oldVersion,
  ERR_SSL_TLSV1_UNRECOGNIZED_NAME: noName,
  ERR_SSL_TLSV1_ALERT_UNRECOGNIZED_NAME: noName,
  // What the HTTP and WebSocket clients say of any handshake that broke before there was a certificate.
  EPROTO: plainHttp,
};

/**
 * Words a failed TLS connection for people.
 *
 * @param code as the runtime's error carries it, such as `CERT_HAS_EXPIRED` or `ERR_SSL_…`
 * @param host name that was dialled; `undefined` where it must not be told
 * @param seen what is known of the certificate; the sentence is shorter without it
 * @returns `undefined` if the failure is not one of TLS
 */
export function describeTlsFailure(
  code: string,
  host: string | undefined,
  seen: SeenCertificate = {},
): TlsFailure | undefined {
  const wording = Object.hasOwn(WORDING, code) ? WORDING[code] : undefined;
  const found = wording ?? (code.startsWith("ERR_SSL_") ? noHandshake : undefined);
  return found?.({ ...seen, host: host === undefined ? "the name that was asked for" : shown(host) });
}
