import { lookup } from "node:dns/promises";
import { BlockList, isIP, isIPv6 } from "node:net";
import type { Outcome } from "../../base/check-result.ts";
import type { Clock } from "../../base/clock.ts";
import { ANSWER_MS, explain } from "./context.ts";
import { within } from "./deadline.ts";

export type Lookup = (name: string) => Promise<string[]>;

/** Addresses tried; a name with more of them is a cluster of its own kind. */
const MAX_ADDRESSES = 8;

export const systemLookup: Lookup = async (name) =>
  (await lookup(name, { all: true, verbatim: true })).map(({ address }) => address);

/** Addresses that no certificate authority and nobody outside can reach (RFC 6890). */
const INSIDE = new BlockList();
for (const [net, prefix] of [
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
] as const) {
  INSIDE.addSubnet(net, prefix, "ipv4");
}
for (const [net, prefix] of [
  ["::1", 128],
  ["fc00::", 7],
  ["fe80::", 10],
] as const) {
  INSIDE.addSubnet(net, prefix, "ipv6");
}

export interface Resolved {
  outcome: Outcome;
  /** To be tried, IPv4 first; empty if there is none. */
  addresses: string[];
}

/**
 * Looks a name up, for both kinds of address.
 *
 * @param instead dialled whatever the name says: before DNS is switched over, say
 */
export async function resolveName(
  domain: string,
  instead: string | undefined,
  clock: Clock,
  find: Lookup,
): Promise<Resolved> {
  if (isIP(domain) !== 0 && instead === undefined) {
    return {
      outcome: { target: domain, ok: undefined, details: "not needed: it is an address" },
      addresses: [domain],
    };
  }
  let found: string[] = [];
  let failure = "the name has no address";
  try {
    found = [...new Set(await within(clock, ANSWER_MS, () => find(domain)))];
  } catch (error) {
    failure = explain(error);
  }
  if (instead !== undefined) {
    const now = found.length === 0 ? failure : `the name leads to ${found.map(described).join(", ")}`;
    return {
      outcome: { target: domain, ok: undefined, details: `${instead} is tried instead; ${now}` },
      addresses: [instead],
    };
  }
  if (found.length === 0) {
    return {
      outcome: {
        target: domain,
        ok: false,
        details: failure,
        action: `Check the spelling, and that the zone has an A or AAAA record for ${domain}: dig +short ${domain} A AAAA`,
      },
      addresses: [],
    };
  }
  found.sort((a, b) => Number(isIPv6(a)) - Number(isIPv6(b)));
  const addresses = found.slice(0, MAX_ADDRESSES);
  const more = found.length - addresses.length;
  const details = addresses.map(described).join(", ") + (more > 0 ? ` and ${more} more, not tried` : "");
  return { outcome: { target: domain, ok: true, details }, addresses };
}

function described(address: string): string {
  const inside = INSIDE.check(address, isIPv6(address) ? "ipv6" : "ipv4");
  return inside ? `${address} (not reachable from outside)` : address;
}
