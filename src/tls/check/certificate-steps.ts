import { X509Certificate } from "node:crypto";
import { checkServerIdentity, type PeerCertificate, type TLSSocket } from "node:tls";
import type { Outcome } from "../../base/check-result.ts";
import { errorCode, messageOf } from "../../base/errors.ts";
import { hostPort } from "../../base/ip-address.ts";
import { oneLine } from "../../base/one-line.ts";
import { describeTlsFailure, shownNames, type SeenCertificate } from "../../base/tls-failure.ts";
import { factsOf, type CertificateFacts } from "../certificate.ts";
import { ANSWER_MS, explain, onWire, secureDial, type Context } from "./context.ts";

const DAY_MS = 86_400_000;
/** Short lifetimes are renewed with a third of them left: with a sixth left, renewing has failed. */
const OVERDUE_SHARE = 1 / 6;
const OVERDUE_CAP_MS = 14 * DAY_MS;

/** What one handshake showed. */
export interface Presented {
  facts: CertificateFacts;
  /** Code of what is wrong with the chain, the name aside; `undefined` if it is trusted. */
  chainError: string | undefined;
  /** What is wrong with the name; `undefined` if it fits. */
  nameError: string | undefined;
  /** Subjects of the certificates that were sent after the first, as far as they are known. */
  issuers: string[];
}

/** @throws what the handshake failed with */
export function lookAtCertificate(context: Context, address: string): Promise<Presented> {
  return onWire(context.clock, secureDial(context, address), ANSWER_MS, (wire) => {
    const socket = wire.socket as TLSSocket;
    const peer = socket.getPeerCertificate(true);
    const error: unknown = socket.authorizationError;
    return Promise.resolve({
      facts: factsOf(new X509Certificate(peer.raw)),
      chainError: error === null || error === undefined ? undefined : codeOf(error),
      nameError: checkServerIdentity(context.domain, peer)?.message,
      issuers: issuersOf(peer),
    });
  });
}

function codeOf(error: unknown): string {
  return typeof error === "string" ? error : (errorCode(error) ?? messageOf(error));
}

function issuersOf(peer: PeerCertificate & { issuerCertificate?: unknown }): string[] {
  const names: string[] = [];
  let at = peer as { issuerCertificate?: unknown; subject?: { CN?: unknown }; fingerprint256?: string };
  for (let depth = 0; depth < 8; depth++) {
    const next = at.issuerCertificate as typeof at | undefined;
    if (next === undefined || next.fingerprint256 === at.fingerprint256) break;
    const name = next.subject?.CN;
    names.push(typeof name === "string" ? oneLine(name, 60) : "an authority without a name");
    at = next;
  }
  return names;
}

/** The chain, the name and the days, each by itself: one certificate can be wrong in three ways. */
export function judgeCertificate(
  context: Context,
  address: string,
  { facts, chainError, nameError, issuers }: Presented,
): { chain: Outcome; name: Outcome; days: Outcome } {
  const { domain, clock } = context;
  const now = clock.wall();
  const target = hostPort(address, context.httpsPort);
  const seen: SeenCertificate = { ...facts, now };
  const failed = (code: string): Outcome => {
    const failure = describeTlsFailure(code, domain, seen);
    return {
      target,
      ok: false,
      details: failure?.message ?? `its certificate is refused: ${oneLine(code)}`,
      action: failure?.action ?? "Look into the log of the server that TLS ends at",
    };
  };
  return {
    chain: judgeChain(target, facts, chainError, issuers, now, failed),
    name:
      nameError === undefined
        ? { target, ok: true, details: `the certificate is for ${shownNames(facts.names)}` }
        : failed("ERR_TLS_CERT_ALTNAME_INVALID"),
    days: judgeDays(target, facts, now, failed),
  };
}

function judgeChain(
  target: string,
  facts: CertificateFacts,
  chainError: string | undefined,
  issuers: readonly string[],
  now: number,
  failed: (code: string) => Outcome,
): Outcome {
  if (chainError === undefined) {
    const through = issuers.length > 1 ? `, up to ${issuers.at(-1)}` : "";
    return { target, ok: true, details: `issued by ${oneLine(facts.issuer, 100)}${through}` };
  }
  const outOfDate = now > facts.notAfter || now < facts.notBefore;
  if (chainError === "CERT_HAS_EXPIRED" && !outOfDate) {
    return {
      target,
      ok: false,
      details: `a certificate above it has expired: ${issuers.join(", ") || oneLine(facts.issuer, 100)}`,
      action: "Replace the intermediate certificates in the server's chain by the authority's present ones",
    };
  }
  // The dates are looked at first, and hide what else there may be.
  if (outOfDate && /^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/.test(chainError)) {
    return { target, ok: undefined, details: "not known: the certificate is out of date, see below" };
  }
  return failed(chainError);
}

function judgeDays(
  target: string,
  { notBefore, notAfter }: CertificateFacts,
  now: number,
  failed: (code: string) => Outcome,
): Outcome {
  if (now < notBefore) return failed("CERT_NOT_YET_VALID");
  if (now > notAfter) return failed("CERT_HAS_EXPIRED");
  const left = notAfter - now;
  const days = Math.floor(left / DAY_MS);
  const details = `${days === 0 ? "less than a day" : days === 1 ? "1 day" : `${days} days`}, until ${new Date(notAfter).toISOString().slice(0, 10)}`;
  if (left >= Math.min((notAfter - notBefore) * OVERDUE_SHARE, OVERDUE_CAP_MS)) {
    return { target, ok: true, details };
  }
  return {
    target,
    ok: false,
    details: `${details}: it should have been renewed by now`,
    action:
      "See why it was not: modelrelay tls status on the relay, or certbot renew --dry-run; the server may also not have loaded a new file",
  };
}

/** A handshake that came to nothing. */
export function judgeHandshake(context: Context, address: string, error: unknown): Outcome {
  const target = hostPort(address, context.httpsPort);
  const failure = describeTlsFailure(errorCode(error) ?? "", context.domain);
  return {
    target,
    ok: false,
    details: failure?.message ?? `the TLS handshake failed: ${explain(error)}`,
    action:
      failure?.action ??
      "Look into the log of the server that TLS ends at; a firewall or a TCP proxy without a server behind it ends connections like this too",
  };
}
