import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { connect } from "node:tls";
import { errorCode } from "../base/errors.ts";
import { basicFacts } from "../base/certificate-facts.ts";
import type { Clock } from "../base/clock.ts";
import { describeNetworkError } from "../base/network-error.ts";
import { pinOf } from "../base/pin.ts";
import { describeTlsFailure, type SeenCertificate } from "../base/tls-failure.ts";
import { trustedRoots } from "../base/trusted-roots.ts";
import { connectUrl, type WorkerConfig } from "./config.ts";
import type { DialFailure } from "./connection.ts";

// What the worker trusts a relay for. Either authorities vouch for it: those of the system and those of
// `--ca-file`. Or, with `--pin`, its key does: then neither the name nor who issued the certificate
// matters, and its dates still do. Every connection that carries the secret is verified by the TLS
// library itself, within the handshake; nothing turns that off, the environment neither.
//
// The library knows no pins. So the certificate is fetched first, on a connection that carries nothing;
// if its key is the right one, the connection that counts may rest on that certificate alone, and the
// key is compared once more when it is made.

/** Terms of a TLS connection, for a WebSocket, `fetch` and `node:tls` alike. */
export interface RelayTls {
  ca: string[];
  /** Said each time: without it, NODE_TLS_REJECT_UNAUTHORIZED=0 would decide. */
  rejectUnauthorized: true;
  allowPartialTrustChain?: true;
  checkServerIdentity?: (host: string, certificate: { raw: Uint8Array }) => Error | undefined;
}

export type TrustConfig = Pick<WorkerConfig, "proxyUrl" | "provider" | "caPem" | "pins">;

const LOOK_TIMEOUT_MS = 10_000;

/** The terms for a relay whose key is not pinned; `undefined` for one without TLS. */
export function authorityTls({ caPem, ...config }: TrustConfig): RelayTls | undefined {
  if (connectUrl(config).protocol !== "https:") return undefined;
  return { ca: trustedRoots(caPem), rejectUnauthorized: true };
}

/**
 * The terms on which the relay may be talked to.
 *
 * @param signal ends the look at a pinned relay
 * @returns `undefined` for a relay without TLS; a failure if no connection is worth trying
 */
export async function relayTls(
  config: TrustConfig,
  clock: Clock,
  signal: AbortSignal,
): Promise<{ tls: RelayTls | undefined } | { failure: DialFailure }> {
  const { pins } = config;
  const url = connectUrl(config);
  if (pins === undefined || url.protocol !== "https:") return { tls: authorityTls(config) };
  let certificate: X509Certificate;
  try {
    certificate = await lookAtCertificate(url, clock, signal);
  } catch (error) {
    return { failure: describeDial(url, error, {}) };
  }
  const pin = pinOf(certificate.raw);
  if (!pins.includes(pin)) return { failure: wrongPin(url, pin) };
  return {
    tls: {
      ca: [certificate.toString()],
      rejectUnauthorized: true,
      allowPartialTrustChain: true,
      checkServerIdentity: (_host, { raw }) =>
        pins.includes(pinOf(raw)) ? undefined : new Error("the relay has changed its key within a moment"),
    },
  };
}

function wrongPin(url: URL, pin: string): DialFailure {
  return {
    kind: "untrusted",
    detail: `${url.host}: its key has the pin ${pin}, which is not the one in --pin`,
    action:
      "If the relay was given a new key, start the worker with the pin that the relay prints; if not, something stands in between, and the secret was kept from it",
  };
}

/**
 * Why a connection to the relay came to nothing. For a refused certificate the relay is asked for it once
 * more, so that its names and dates can be told.
 */
export async function explainDial(config: TrustConfig, error: unknown, clock: Clock): Promise<DialFailure> {
  const url = connectUrl(config);
  const code = errorCode(error) ?? "";
  if (url.protocol !== "https:" || describeTlsFailure(code, undefined) === undefined) {
    return describeDial(url, error, {});
  }
  let seen: SeenCertificate = { now: clock.wall() };
  try {
    const certificate = await lookAtCertificate(url, clock, new AbortController().signal);
    seen = { ...seen, ...basicFacts(certificate) };
  } catch {
    // No handshake at all: the code says enough.
  }
  return describeDial(url, error, seen);
}

function describeDial(url: URL, error: unknown, seen: SeenCertificate): DialFailure {
  const failure = describeTlsFailure(errorCode(error) ?? "", url.hostname, seen);
  if (failure === undefined || url.protocol !== "https:") {
    return { kind: "unreachable", detail: `${url.host}: ${describeNetworkError(error)}` };
  }
  return { kind: "untrusted", detail: `${url.host}: ${failure.message}`, action: failure.action };
}

/**
 * Fetches the certificate that the relay shows, without judging it. Nothing is sent on this connection.
 *
 * @throws what the handshake failed with
 */
function lookAtCertificate(url: URL, clock: Clock, signal: AbortSignal): Promise<X509Certificate> {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  return shakeHands(url, clock, signal, {
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
    ...(isIP(host) === 0 && { servername: host }),
  });
}

/** Makes a TLS connection on the terms given and closes it. @returns the relay's certificate */
function shakeHands(url: URL, clock: Clock, signal: AbortSignal, terms: object): Promise<X509Certificate> {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const port = url.port === "" ? 443 : Number(url.port);
  const socket = connect({ host, port, ...(isIP(host) === 0 && { servername: host }), ...terms });
  const done = Promise.withResolvers<X509Certificate>();
  const timer = clock.after(LOOK_TIMEOUT_MS, () =>
    socket.destroy(Object.assign(new Error("no answer within 10 s"), { code: "ETIMEDOUT" })),
  );
  const leave = (): void => void socket.destroy();
  signal.addEventListener("abort", leave, { once: true });
  socket.on("error", done.reject);
  socket.on("close", () => {
    timer.cancel();
    signal.removeEventListener("abort", leave);
    done.reject(Object.assign(new Error("closed"), { code: "ECONNRESET" }));
  });
  socket.once("secureConnect", () => {
    try {
      done.resolve(new X509Certificate(socket.getPeerCertificate().raw));
    } catch (error) {
      done.reject(error);
    }
    socket.destroy();
  });
  return done.promise;
}

/** Tries the terms of the configuration once, without the secret. */
export async function tryTrust(
  config: TrustConfig,
  clock: Clock,
): Promise<{ details: string } | { failure: DialFailure }> {
  const { signal } = new AbortController();
  const terms = await relayTls(config, clock, signal);
  if ("failure" in terms) return terms;
  try {
    const certificate = await shakeHands(connectUrl(config), clock, signal, terms.tls ?? {});
    const by = config.pins === undefined ? "trusted" : `trusted by its key ${pinOf(certificate.raw)}`;
    return { details: `${by}, valid until ${certificate.validTo}` };
  } catch (error) {
    return { failure: await explainDial(config, error, clock) };
  }
}
