import { isIP } from "node:net";

/**
 * The bytes of an address: 4 of IPv4, 16 of IPv6. IPv4 in IPv6 (`::ffff:10.0.0.1`, which is how a
 * listener for both shows its IPv4 peers) becomes IPv4, and a zone (`%eth0`) is left out: it names an
 * interface of the machine that wrote it.
 *
 * @returns `undefined` if the text is no address
 */
export function parseAddress(text: string): Uint8Array | undefined {
  switch (isIP(text)) {
    case 4:
      return Uint8Array.from(text.split("."), Number);
    case 6:
      return parseIpv6(text);
    default:
      return undefined;
  }
}

/** The one way to write an address; of IPv6 that of RFC 5952 §4. */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups: number[] = [];
  for (let at = 0; at < 16; at += 2) groups.push(((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0));
  const zeros = longestZeros(groups);
  const write = (part: number[]) => part.map((group) => group.toString(16)).join(":");
  if (zeros.length < 2) return write(groups);
  return `${write(groups.slice(0, zeros.start))}::${write(groups.slice(zeros.start + zeros.length))}`;
}

/** A host, by name or address, and a port; an IPv6 address in brackets. */
export function hostPort(host: string, port: number): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Where a program on this machine reaches what listens on a host; `::`, `0.0.0.0` and none are every address. */
export function localUrl(scheme: "http" | "https", host: string, port: number): string {
  const isAny = host === "::" || host === "0.0.0.0" || host === "";
  return `${scheme}://${hostPort(isAny ? "127.0.0.1" : host, port)}`;
}

/** Only for a text that is known to be IPv6. */
function parseIpv6(text: string): Uint8Array {
  const [address = ""] = text.split("%");
  const lastColon = address.lastIndexOf(":");
  const dotted = address.slice(lastColon + 1);
  const tail = dotted.includes(".") ? Uint8Array.from(dotted.split("."), Number) : undefined;
  const plain =
    tail === undefined
      ? address
      : `${address.slice(0, lastColon + 1)}${hexPair(tail, 0)}:${hexPair(tail, 2)}`;
  const [before = "", after] = plain.split("::");
  const head = groupsOf(before);
  const rest = after === undefined ? [] : groupsOf(after);
  const groups = [...head, ...Array<number>(8 - head.length - rest.length).fill(0), ...rest];
  const bytes = Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
  return isMapped(bytes) ? bytes.subarray(12) : bytes;
}

function hexPair(bytes: Uint8Array, at: number): string {
  return (((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)).toString(16);
}

function groupsOf(text: string): number[] {
  return text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
}

/** RFC 4291 §2.5.5.2: `::ffff:0:0/96`. */
function isMapped(bytes: Uint8Array): boolean {
  return bytes[10] === 0xff && bytes[11] === 0xff && bytes.subarray(0, 10).every((byte) => byte === 0);
}

function longestZeros(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (const [at, group] of groups.entries()) {
    if (group !== 0) start = at + 1;
    else if (at + 1 - start > best.length) best = { start, length: at + 1 - start };
  }
  return best;
}
