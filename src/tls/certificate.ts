import { X509Certificate } from "node:crypto";
import { basicFacts, type BasicFacts } from "../base/certificate-facts.ts";
import { readCertificateFields, readDer, type CertificateFields } from "../base/der.ts";
import { messageOf, Problem } from "../base/errors.ts";
import { certificateBlocks } from "../base/pem.ts";
import { pinOf } from "../base/pin.ts";
import { noCertificate, privateKey } from "./pem.ts";

/** A certificate with what a server needs to use it. */
export interface KeyPair {
  /** Leaf first, then the intermediates. */
  chainPem: string;
  keyPem: string;
}

/** What is to know about a certificate, read from its leaf. */
export interface CertificateFacts extends BasicFacts {
  /** Lower-case hexadecimal without colons, as `openssl x509 -serial` in lower case. */
  serial: string;
  selfSigned: boolean;
  /** See `pinOf`. */
  pin: string;
  /** RFC 9773 §4.1; undefined for a certificate without an authority key identifier. */
  ariId: string | undefined;
}

const AUTHORITY_KEY_IDENTIFIER = "551d23"; // 2.5.29.35

/** Reads a chain's certificates, in its order. @throws {Problem} if there is none, or one is damaged */
function readChain(chainPem: string): X509Certificate[] {
  const blocks = certificateBlocks(chainPem);
  if (blocks.length === 0) throw noCertificate(chainPem);
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch (cause) {
      throw new Problem(`Cannot read certificate ${index + 1} of ${blocks.length}: ${messageOf(cause)}`, {
        action: "Copy the file again from where it was issued: it is damaged",
        cause,
      });
    }
  });
}

/** The facts of a chain's first certificate. @throws {Problem} if it cannot be read */
export function readCertificate(chainPem: string): CertificateFacts {
  const [leaf] = readChain(chainPem);
  if (leaf === undefined) throw noCertificate(chainPem);
  return factsOf(leaf);
}

/** @throws {Problem} if a field that every certificate has is missing */
export function factsOf(certificate: X509Certificate): CertificateFacts {
  try {
    return {
      ...basicFacts(certificate),
      serial: certificate.serialNumber.toLowerCase(),
      selfSigned: isSelfSigned(certificate),
      pin: pinOf(certificate.raw),
      ariId: ariIdOf(readCertificateFields(certificate.raw)),
    };
  } catch (cause) {
    throw new Problem(`Cannot read the certificate: ${messageOf(cause)}`, {
      action: "Copy the file again from where it was issued: it is damaged",
      cause,
    });
  }
}

function isSelfSigned(certificate: X509Certificate): boolean {
  if (certificate.subject !== certificate.issuer) return false;
  try {
    return certificate.verify(certificate.publicKey);
  } catch {
    return false; // a kind of key that this library does not know
  }
}

/** RFC 9773 §4.1: the key identifier and the serial number, as they stand in the certificate. */
function ariIdOf(fields: CertificateFields): string | undefined {
  const value = fields.extension(AUTHORITY_KEY_IDENTIFIER);
  const parts = value === undefined ? [] : readDer(readDer(value)[0]?.content ?? new Uint8Array());
  const keyIdentifier = parts.find(({ tag }) => tag === 0x80)?.content;
  if (keyIdentifier === undefined) return undefined;
  return [keyIdentifier, fields.serial].map((part) => Buffer.from(part).toString("base64url")).join(".");
}

/**
 * Looks whether a server can use the pair, as a client would judge it: the key belongs to the first
 * certificate, each certificate is followed by its issuer if that is there at all, there are names, and
 * the time is right.
 *
 * @param nowMs milliseconds since the epoch
 * @throws {Problem} with the reason and the remedy
 */
export function checkPair(pair: KeyPair, nowMs: number): CertificateFacts {
  if (looksSwapped(pair)) {
    throw new Problem("Cannot use the certificate: certificate and key are swapped", {
      action: "Give the file with CERTIFICATE as the certificate, and the one with PRIVATE KEY as the key",
    });
  }
  const chain = readChain(pair.chainPem);
  const leaf = chain[0];
  if (leaf === undefined) throw noCertificate(pair.chainPem);
  checkKey(chain, leaf, pair.keyPem);
  checkOrder(chain);
  const facts = factsOf(leaf);
  if (facts.names.length === 0) {
    throw new Problem("Cannot use the certificate: it is for no name", {
      action:
        "Have it issued with the host's name as subject alternative name; clients do not look at the common name",
    });
  }
  if (facts.notAfter <= nowMs) {
    throw new Problem(`Cannot use the certificate: it expired on ${dateText(facts.notAfter)}`, {
      action: "Renew it where it was issued; if the date is right, set this machine's clock",
    });
  }
  if (facts.notBefore > nowMs) {
    throw new Problem(`Cannot use the certificate: it is not valid before ${dateText(facts.notBefore)}`, {
      action: `Set this machine's clock, which says ${dateText(nowMs)}, or wait`,
    });
  }
  return facts;
}

/** Whether one of the names, of which some may be wildcards, is the host's. RFC 9525 §6.3: a wildcard stands for one label. */
export function coversName(names: readonly string[], host: string): boolean {
  const asked = host.toLowerCase();
  const dot = asked.indexOf(".");
  const wildcard = dot > 0 ? `*${asked.slice(dot)}` : undefined;
  return names.some((name) => name.toLowerCase() === asked || name.toLowerCase() === wildcard);
}

/** Whether the key belongs to the chain's first certificate, and both can be read at all. */
export function pairMatches(pair: KeyPair): boolean {
  try {
    const chain = readChain(pair.chainPem);
    return chain[0]?.checkPrivateKey(privateKey(pair.keyPem)) ?? false;
  } catch {
    return false;
  }
}

function looksSwapped({ chainPem, keyPem }: KeyPair): boolean {
  const isKey = /-----BEGIN [A-Z ]*PRIVATE KEY-----/;
  return isKey.test(chainPem) && !isKey.test(keyPem) && certificateBlocks(keyPem).length > 0;
}

function checkKey(chain: X509Certificate[], leaf: X509Certificate, keyPem: string): void {
  const key = privateKey(keyPem);
  if (leaf.checkPrivateKey(key)) return;
  if (chain.some((certificate) => certificate.checkPrivateKey(key))) {
    throw new Problem(
      `Cannot use the certificate: the chain is in the wrong order, it begins with ${subjectText(leaf)}, and the key's own certificate comes later`,
      { action: "Put the server's own certificate first, then each certificate's issuer behind it" },
    );
  }
  throw new Problem(
    `Cannot use the certificate: the key does not belong to it (${subjectText(leaf)}, serial ${leaf.serialNumber.toLowerCase()})`,
    { action: "Give the certificate and the key that were made together, such as certbot's live/NAME/" },
  );
}

/** Clients before TLS 1.3 may insist on the order (RFC 5246 §7.4.2). A certificate too many does no harm. */
function checkOrder(chain: X509Certificate[]): void {
  for (const [index, certificate] of chain.entries()) {
    const next = chain[index + 1];
    if (isSelfSigned(certificate) || (next !== undefined && certificate.checkIssued(next))) continue;
    const issuer = chain.find((other) => other !== certificate && certificate.checkIssued(other));
    if (issuer === undefined) continue;
    throw new Problem(
      `Cannot use the certificate: the chain is in the wrong order, ${subjectText(certificate)} is not followed by its issuer ${subjectText(issuer)}`,
      { action: "Put the server's own certificate first, then each certificate's issuer behind it" },
    );
  }
}

function subjectText(certificate: X509Certificate): string {
  const name =
    /^CN=(.*)$/m.exec(certificate.subject)?.[1] ??
    certificate.subjectAltName?.split(", ")[0]?.replace(/^DNS:/, "") ??
    "no name";
  return `"${name.slice(0, 80)}"`;
}

const dateText = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
