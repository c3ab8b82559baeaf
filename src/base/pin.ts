import { createHash } from "node:crypto";
import { readCertificateFields } from "./der.ts";
import { Problem } from "./errors.ts";

const EXPECTED = 'expected "sha256/" and the 44 characters of a SHA-256 in base64';

/**
 * Names a certificate's key: `sha256/` and the base64 of SHA-256 over its SubjectPublicKeyInfo, as
 * RFC 7469 §2.4 does it. It stays the same when a certificate is renewed with the same key.
 *
 * @throws {RangeError} if the bytes are no X.509 certificate
 */
export function pinOf(certificateDer: Uint8Array): string {
  const { publicKeyInfo } = readCertificateFields(certificateDer);
  return `sha256/${createHash("sha256").update(publicKeyInfo).digest("base64")}`;
}

/**
 * Reads a pin as people have it: `sha256/…`, curl's `sha256//…`, or the base64 alone, with or without
 * padding, also in base64's alphabet for addresses.
 *
 * @returns the form that {@link pinOf} gives
 * @throws {Problem} if it is no pin
 */
export function parsePin(text: string): string {
  const trimmed = text.trim();
  const refuse = (why: string, action: string): never => {
    throw new Problem(`Cannot read the pin "${trimmed.slice(0, 80)}": ${why}`, { action });
  };
  if (/^(sha256[:/]*)?([0-9a-f]{2}:?){32}$/i.test(trimmed)) {
    refuse(
      "it is in hexadecimal, as the fingerprint of a whole certificate is",
      "Give the pin that the relay printed: it is made from the key, so that it outlives a renewal",
    );
  }
  const other = /^(sha1|sha224|sha384|sha512|md5)[:/]/i.exec(trimmed)?.[1];
  if (other !== undefined) {
    refuse(`${other.toLowerCase()} is not used for pins; ${EXPECTED}`, "Give the sha256 pin of the key");
  }
  const body = /^(?:sha256[:/]+)?([A-Za-z0-9+/_-]{43})=?$/i.exec(trimmed)?.[1];
  if (body === undefined) return refuse(EXPECTED, "Copy the whole pin that the relay printed at its start");
  const normal = Buffer.from(body, "base64").toString("base64");
  // 43 characters hold two bits more than 32 bytes: bits that are set there are a slip of copying.
  if (normal.slice(0, 43) !== body.replaceAll("-", "+").replaceAll("_", "/")) {
    return refuse("its last character cannot stand there", "Copy the whole pin again");
  }
  return `sha256/${normal}`;
}
