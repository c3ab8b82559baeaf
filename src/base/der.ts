/**
 * As much of DER (X.690) as it takes to find fields of a certificate (RFC 5280 §4.1) byte for byte.
 * `node:crypto` shows neither the authority key identifier nor the public key's own bytes, and loading
 * `@peculiar/x509` for them takes 130 ms (Bun 1.4.5), which a worker would pay at its start.
 */
export interface DerValue {
  /** The identifier octet, such as 0x30 for SEQUENCE. */
  tag: number;
  /** What the value holds, without tag and length. */
  content: Uint8Array;
  /** Tag, length and content. */
  raw: Uint8Array;
}

/** Reads the values that stand one after the other in `bytes`. @throws {RangeError} if they are not DER */
export function readDer(bytes: Uint8Array): DerValue[] {
  const values: DerValue[] = [];
  for (let at = 0; at < bytes.length;) {
    const value = readOne(bytes, at);
    values.push(value);
    at += value.raw.length;
  }
  return values;
}

function readOne(bytes: Uint8Array, start: number): DerValue {
  const octet = (at: number): number => {
    const found = bytes[at];
    if (found === undefined) throw new RangeError("Cannot read DER: it ends too early");
    return found;
  };
  const tag = octet(start);
  // No field that is read here has a tag number above 30, which would take more octets.
  if ((tag & 0x1f) === 0x1f) throw new RangeError("Cannot read DER: the tag has more than one octet");
  let at = start + 2;
  let length = octet(start + 1);
  if (length > 0x84 || length === 0x80) throw new RangeError("Cannot read DER: no length of one value");
  if (length > 0x80) {
    const count = length & 0x7f;
    length = 0;
    for (let i = 0; i < count; i++) length = length * 256 + octet(at++);
  }
  if (at + length > bytes.length) throw new RangeError("Cannot read DER: it ends too early");
  return { tag, content: bytes.subarray(at, at + length), raw: bytes.subarray(start, at + length) };
}

/** Fields of a certificate that `node:crypto` does not show as they are. */
export interface CertificateFields {
  /** The serial number's content octets, with the leading zero where there is one. */
  serial: Uint8Array;
  /** SubjectPublicKeyInfo, whole. */
  publicKeyInfo: Uint8Array;
  /** Content of an extension's value by the DER content of its object identifier, in hex. */
  extension(oidHex: string): Uint8Array | undefined;
}

/** @throws {RangeError} if the bytes are no X.509 certificate */
export function readCertificateFields(certificate: Uint8Array): CertificateFields {
  const toBeSigned = readDer(nth(readDer(certificate), 0).content)[0];
  const fields = readDer(toBeSigned?.content ?? new Uint8Array());
  // version [0] is left out of a certificate of version 1.
  const first = fields[0]?.tag === 0xa0 ? 1 : 0;
  const extensions = fields.find(({ tag }) => tag === 0xa3);
  const list = extensions === undefined ? [] : readDer(nth(readDer(extensions.content), 0).content);
  return {
    serial: nth(fields, first).content,
    publicKeyInfo: nth(fields, first + 5).raw,
    extension(oidHex) {
      for (const { content } of list) {
        const parts = readDer(content);
        if (Buffer.from(nth(parts, 0).content).toString("hex") !== oidHex) continue;
        return nth(parts, parts.length - 1).content; // `critical` may stand between the two
      }
      return undefined;
    },
  };
}

function nth(values: DerValue[], index: number): DerValue {
  const value = values[index];
  if (value === undefined) throw new RangeError("Cannot read the certificate: a field is missing");
  return value;
}
