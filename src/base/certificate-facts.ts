import type { X509Certificate } from "node:crypto";
import { readCertificateFields, readDer, type CertificateFields } from "./der.ts";
import { formatAddress } from "./ip-address.ts";

/** What people look for in a certificate. */
export interface BasicFacts {
  /** DNS names and IP addresses of the subject alternative names, in order. */
  names: string[];
  /** Short text for people, such as "Let's Encrypt R11". */
  issuer: string;
  /** Milliseconds since the epoch. */
  notBefore: number;
  /** Milliseconds since the epoch. */
  notAfter: number;
}

/** @throws {RangeError} if a field that every certificate has is missing */
export function basicFacts(certificate: X509Certificate): BasicFacts {
  return {
    names: namesOf(readCertificateFields(certificate.raw)),
    issuer: issuerText(certificate),
    notBefore: Date.parse(certificate.validFrom),
    notAfter: Date.parse(certificate.validTo),
  };
}

const SUBJECT_ALTERNATIVE_NAME = "551d11"; // 2.5.29.17

/** GeneralName (RFC 5280 §4.2.1.6): [2] is a DNS name, [7] an address; the others are not for servers. */
function namesOf(fields: CertificateFields): string[] {
  const value = fields.extension(SUBJECT_ALTERNATIVE_NAME);
  const names = value === undefined ? [] : readDer(readDer(value)[0]?.content ?? new Uint8Array());
  return names.flatMap(({ tag, content }) => {
    if (tag === 0x82) return [Buffer.from(content).toString("latin1").toLowerCase()];
    if (tag === 0x87) return [formatAddress(content)];
    return [];
  });
}

function issuerText(certificate: X509Certificate): string {
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}=(.*)$`, "m").exec(certificate.issuer)?.[1];
  const organisation = field("O");
  const commonName = field("CN");
  if (organisation === undefined || commonName === undefined) {
    return commonName ?? organisation ?? certificate.issuer.replaceAll("\n", ", ");
  }
  return commonName.startsWith(organisation) ? commonName : `${organisation} ${commonName}`;
}
