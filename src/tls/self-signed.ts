import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  type KeyObject,
} from "node:crypto";
import { hostname, networkInterfaces } from "node:os";
import { Problem } from "../base/errors.ts";
import { formatAddress, parseAddress } from "../base/ip-address.ts";
import type { KeyPair } from "./certificate.ts";
import {
  bitString,
  boolean,
  der,
  identifier,
  integer,
  octetString,
  sequence,
  setOf,
  time,
  utf8,
} from "./der-writer.ts";

export interface SelfSignedOptions {
  /** Host names and addresses that the certificate is for; the first is its common name. */
  names: readonly string[];
  /** @defaultValue 800 */
  validDays?: number;
  /** Milliseconds since the epoch. */
  nowMs: number;
}

/**
 * Apple's systems refuse certificates of over 825 days even when their user has trusted them. The key
 * outlives the certificate: `--pin` goes on, only a copy of the certificate has to be made again.
 */
const VALID_DAYS = 800;
const DAY_MS = 86_400_000;

/** The certificate begins a day early, for machines on the LAN whose clock is behind. */
const EARLY_MS = DAY_MS;

/**
 * Makes a certificate that a key signs for itself, for a LAN without a CA. Clients trust it by its pin,
 * or by a copy of it (`worker --ca-file`, `curl --cacert`).
 *
 * @throws {Problem} if there are no names, or one cannot stand in a certificate
 */
export function selfSignedPair(options: SelfSignedOptions): KeyPair {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { chainPem: certificatePem(privateKey, options), keyPem: pemOf(privateKey) };
}

/**
 * Makes a new certificate for the key of an old one, so that the pin stays as it is.
 *
 * @throws {Problem} as {@link selfSignedPair}
 */
export function renewSelfSigned(pair: KeyPair, options: SelfSignedOptions): KeyPair {
  return { chainPem: certificatePem(createPrivateKey(pair.keyPem), options), keyPem: pair.keyPem };
}

/**
 * What other machines on the LAN may call this one: its name, alone and with `.local`, localhost, and
 * its addresses. IPv6 addresses that need a zone are left out, as no URL can hold one.
 */
export function machineNames(
  host = hostname(),
  interfaces: NodeJS.Dict<readonly { address: string; internal: boolean }[]> = networkInterfaces(),
): string[] {
  const full = host.toLowerCase().replace(/\.$/, "");
  const [short = ""] = full.split(".");
  const addresses = Object.values(interfaces)
    .flatMap((list) => list ?? [])
    .filter(({ address, internal }) => !internal && !/^fe[89ab]|%/i.test(address))
    .map(({ address }) => parseAddress(address))
    .filter((address) => address !== undefined)
    .map(formatAddress);
  const own = short === "localhost" ? [] : [full, short, `${short}.local`];
  const names = own.filter((name) => DNS_NAME.test(name));
  return [...new Set([...names, "localhost", ...addresses, "127.0.0.1", "::1"])];
}

/** Labels of RFC 1123 §2.1; the underscore is none of its letters, and real machines have it. */
const DNS_NAME =
  /^(?=.{1,253}$)(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]{0,62}(?<!-))?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}(?<!-))?)*$/i;

const ECDSA_WITH_SHA256 = sequence(identifier("1.2.840.10045.4.3.2"));

/** RFC 5280 §4.1. */
function certificatePem(key: KeyObject, { names, validDays = VALID_DAYS, nowMs }: SelfSignedOptions): string {
  const [first] = names;
  if (first === undefined) {
    throw new Problem("Cannot make a certificate: it has no name", {
      action: "Give the name or address that clients will use, with --domain",
    });
  }
  const publicKey = createPublicKey(key).export({ type: "spki", format: "der" });
  const name = sequence(
    setOf(sequence(identifier("2.5.4.10"), utf8("modelrelay self-signed"))),
    setOf(sequence(identifier("2.5.4.3"), utf8(first.slice(0, 64)))),
  );
  const body = sequence(
    der(0xa0, integer(Buffer.of(2))), // version 3
    integer(Buffer.concat([Buffer.of(0x40), randomBytes(15)])),
    ECDSA_WITH_SHA256,
    name,
    sequence(time(nowMs - EARLY_MS), time(nowMs + validDays * DAY_MS)),
    name,
    publicKey,
    der(0xa3, sequence(...extensions(names, publicKey))),
  );
  const certificate = sequence(body, ECDSA_WITH_SHA256, bitString(sign("sha256", body, key)));
  const lines = certificate.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

/**
 * It is no CA: rustls and Firefox refuse a CA's certificate as a server's, and one that leaks could
 * sign for other names. There is no key usage: OpenSSL 1.1 takes a certificate for its own issuer only
 * if that says keyCertSign or nothing, and RFC 5280 §4.2.1.3 keeps keyCertSign for CAs.
 */
function extensions(names: readonly string[], publicKey: Uint8Array): Buffer[] {
  const keyBits = publicKey.subarray(-65); // the uncompressed point of P-256 ends the structure
  const keyIdentifier = createHash("sha1").update(keyBits).digest();
  const extension = (id: string, value: Buffer, critical = false) =>
    sequence(identifier(id), ...(critical ? [boolean(true)] : []), octetString(value));
  return [
    extension("2.5.29.17", sequence(...names.map(generalName))),
    extension("2.5.29.19", sequence(), true), // basic constraints: no CA
    extension("2.5.29.37", sequence(identifier("1.3.6.1.5.5.7.3.1"))), // serverAuth
    extension("2.5.29.14", octetString(keyIdentifier)),
    extension("2.5.29.35", sequence(der(0x80, keyIdentifier))),
  ];
}

/** RFC 5280 §4.2.1.6: [2] is a DNS name, [7] an address. */
function generalName(name: string): Buffer {
  const address = parseAddress(name);
  if (address !== undefined) return der(0x87, address);
  if (!DNS_NAME.test(name)) {
    throw new Problem(
      `Cannot make a certificate for "${name.slice(0, 80)}": it is no host name and no address`,
      {
        action: "Give a name such as relay.lan, in punycode if it has other letters, or an IP address",
      },
    );
  }
  return der(0x82, Buffer.from(name.toLowerCase()));
}

const pemOf = (key: KeyObject): string => key.export({ type: "pkcs8", format: "pem" });
