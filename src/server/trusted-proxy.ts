import { UsageError } from "../base/errors.ts";
import { formatAddress, parseAddress } from "../base/ip-address.ts";

/** The proxies whose word about a client's address is taken. */
export interface TrustedProxies {
  /**
   * The address of the client that sent a request, in one way of writing.
   *
   * Only the headers of a trusted peer are looked at. They are read from the right, where each proxy
   * adds what it saw itself: trusted addresses are passed over, the first other one is the client. What
   * is no address (`unknown`, `_hidden`, garbage, an empty place) ends the walk, and the address before
   * it is the answer.
   *
   * `X-Forwarded-For` and `Forwarded` are both read. A proxy writes one of them and often hands on the
   * other as the client sent it, and nothing tells which. So where both are there, they count only if
   * they name the same address; else the answer is the peer: a client can hide behind its proxy in that
   * way, and can never appear as somebody else. A trusted proxy that writes neither leaves both to the
   * client, so it must be made to write one.
   *
   * `X-Forwarded-Proto` and `X-Forwarded-Host` are not read: nothing depends on them.
   *
   * @param peerAddress the other end of the connection; given back as it is if it is no address
   */
  clientAddress(peerAddress: string, headers: Headers): string;
}

interface Network {
  bytes: Uint8Array;
  bits: number;
}

/** Proxies in a row that are believed, and characters that are looked at for them. */
const MAX_HOPS = 32;
const MAX_LENGTH = 4_096;
/** Reading and writing an address takes 3 µs, looking it up 0.1. */
const MAX_REMEMBERED = 1_024;

/**
 * @param cidrs networks (`10.0.0.0/8`, `2001:db8::/32`) and single addresses
 * @throws {UsageError} if one of them is neither
 */
export function createTrustedProxies(cidrs: readonly string[]): TrustedProxies {
  const networks = cidrs.map(parseNetwork);
  const isTrusted = (address: Uint8Array) => networks.some((network) => contains(network, address));

  /** @param claims addresses from the nearest to the farthest */
  function walk(peer: Uint8Array, claims: Iterable<Uint8Array | undefined>): Uint8Array {
    let last = peer;
    let hops = 0;
    for (const claim of claims) {
      if (claim === undefined || ++hops > MAX_HOPS) break;
      last = claim;
      if (!isTrusted(claim)) break;
    }
    return last;
  }

  /** How addresses of peers that are believed nothing are written; a busy client comes with each request. */
  const plain = new Map<string, string>();

  function plainOf(peerAddress: string, peer: Uint8Array): string {
    const formatted = formatAddress(peer);
    if (plain.size >= MAX_REMEMBERED) plain.clear();
    plain.set(peerAddress, formatted);
    return formatted;
  }

  return {
    clientAddress(peerAddress, headers) {
      const known = plain.get(peerAddress);
      if (known !== undefined) return known;
      const peer = parseAddress(peerAddress);
      if (peer === undefined) return peerAddress;
      if (networks.length === 0 || !isTrusted(peer)) return plainOf(peerAddress, peer);
      const xff = headers.get("x-forwarded-for");
      const forwarded = headers.get("forwarded");
      const answers: string[] = [];
      if (xff !== null) answers.push(formatAddress(walk(peer, claimsOf(xff, addressOf))));
      if (forwarded !== null) answers.push(formatAddress(walk(peer, claimsOf(forwarded, forOf))));
      const [one = formatAddress(peer), other = one] = answers;
      return one === other ? one : formatAddress(peer);
    },
  };
}

/** @throws {UsageError} */
function parseNetwork(cidr: string): Network {
  const text = cidr.trim();
  const slash = text.indexOf("/");
  const address = slash < 0 ? text : text.slice(0, slash);
  const bytes = address.includes("%") ? undefined : parseAddress(address);
  if (bytes === undefined) {
    throw new UsageError(`Cannot trust the proxy "${shown(cidr)}": it is no address and no network`, {
      action: "Write an address such as 10.0.0.5 or a network such as 10.0.0.0/8 or 2001:db8::/32",
    });
  }
  // `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
  const unwrapped = bytes.length === 4 && address.includes(":") ? 96 : 0;
  const longest = 8 * bytes.length + unwrapped;
  const length = slash < 0 ? String(longest) : text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(length) || Number(length) > longest || Number(length) < unwrapped) {
    throw new UsageError(
      `Cannot trust the proxy "${shown(cidr)}": the number behind the slash must be from ${unwrapped + 1} to ${longest}`,
      { action: `Write ${address}/${longest}, or ${address} alone, for this one address` },
    );
  }
  const bits = Number(length) - unwrapped;
  if (bits === 0) {
    throw new UsageError(
      `Cannot trust the proxy "${shown(cidr)}": it stands for every address, and every client could choose its own`,
      { action: "Name the addresses that your proxies connect from" },
    );
  }
  const masked = bytes.map((byte, at) => byte & maskAt(bits, at));
  if (!masked.every((byte, at) => byte === bytes[at])) {
    throw new UsageError(
      `Cannot trust the proxy "${shown(cidr)}": the address has digits beyond the network's ${length} bits`,
      {
        action: `Write ${formatAddress(masked)}/${bits} for the network, or ${formatAddress(bytes)} for this one address`,
      },
    );
  }
  return { bytes, bits };
}

/** Text of the command line in a message: short, whatever was given. */
function shown(text: string): string {
  return text.slice(0, 64);
}

/** The bits of byte `at` that belong to a network of so many bits. */
function maskAt(bits: number, at: number): number {
  return (0xff00 >> Math.min(8, Math.max(0, bits - 8 * at))) & 0xff;
}

function contains(network: Network, address: Uint8Array): boolean {
  if (network.bytes.length !== address.length) return false;
  return network.bytes.every((byte, at) => byte === ((address[at] ?? 0) & maskAt(network.bits, at)));
}

/** Reads the places of a list from the right, one when it is asked for. */
function* claimsOf(
  list: string,
  read: (place: string) => Uint8Array | undefined,
): Generator<Uint8Array | undefined> {
  // The part of a place that is cut in two is no place; only what stands right of its comma counts.
  const text = list.length > MAX_LENGTH ? list.slice(-MAX_LENGTH) : list;
  for (let end = text.length; end >= 0;) {
    const comma = end === 0 ? -1 : text.lastIndexOf(",", end - 1);
    if (comma < 0 && text !== list) return;
    yield read(text.slice(comma + 1, end).trim());
    end = comma;
  }
}

/** An address with or without a port: `10.0.0.1`, `10.0.0.1:80`, `2001:db8::1`, `[2001:db8::1]:80`. */
function addressOf(text: string): Uint8Array | undefined {
  const [, bracketed, ported] =
    /^(?:\[([^\]]{2,64})\](?::\d{1,5})?|(\d[\d.]{6,14}):\d{1,5})$/.exec(text) ?? [];
  if (bracketed !== undefined && !bracketed.includes(":")) return undefined;
  return text.length > 64 ? undefined : parseAddress(bracketed ?? ported ?? text);
}

/**
 * One pair of RFC 7239 §4. Quoted text may hold what addresses, names and schemes are made of and
 * nothing else: with commas and escapes in it, a client could open a quotation that swallows what its
 * proxy adds. So a list can be cut at its commas from the right.
 */
const PAIR = /^\s*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)=(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)|"([\w.:[\]%~/-]*)")\s*$/;

/** RFC 7239 §6: a port is a number, or hidden as `_name`. */
const NODE = /^(\[[^\]]{2,64}\]|[\d.]{7,15})(?::(?:\d{1,5}|_[\w.-]{1,64}))?$/;

/** The `for` of one place of `Forwarded`. */
function forOf(place: string): Uint8Array | undefined {
  let node: string | undefined;
  for (const part of place.split(";")) {
    if (part.trim() === "") continue;
    const [, name, token, quoted] = PAIR.exec(part) ?? [];
    if (name === undefined) return undefined;
    if (name.toLowerCase() !== "for") continue;
    // §4: each name once. Two of them would be read differently by the next reader.
    if (node !== undefined) return undefined;
    node = token ?? quoted;
  }
  const address = NODE.exec(node ?? "")?.[1];
  return address === undefined ? undefined : addressOf(address);
}
