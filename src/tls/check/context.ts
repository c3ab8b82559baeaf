import { isIPv6 } from "node:net";
import type { CheckResult, Outcome } from "../../base/check-result.ts";
import type { Clock } from "../../base/clock.ts";
import { errorCode, messageOf } from "../../base/errors.ts";
import { describeNetworkError } from "../../base/network-error.ts";
import { oneLine } from "../../base/one-line.ts";
import { within } from "./deadline.ts";
import { Wire, type Dial, type TlsDial } from "./wire.ts";

/** The steps in their order; a result carries one of these names. */
export const DOMAIN_STEPS = [
  "name resolves",
  "port 80",
  "port 443",
  "chain trusted",
  "name matches",
  "days left",
  "protocols",
  "models over https",
  "worker link",
  "stream unbuffered",
  "idle link kept",
] as const;
export type DomainStep = (typeof DOMAIN_STEPS)[number];
export type DomainResult = CheckResult<DomainStep>;

/** What the steps share. */
export interface Context {
  readonly domain: string;
  readonly clock: Clock;
  readonly roots: readonly string[];
  readonly httpPort: number;
  readonly httpsPort: number;
  readonly waitMs: number;
  /** Time passes in a step that takes long by its nature. */
  progress(step: DomainStep, target: string, waitedMs: number): void;
}

/** Time for a connection or one short answer. */
export const ANSWER_MS = 10_000;

/** The `Host` header for a port: the usual one stays out. */
export function hostHeader(domain: string, port: number, usual: number): string {
  const name = isIPv6(domain) ? `[${domain}]` : domain;
  return port === usual ? name : `${name}:${port}`;
}

/** How a secure connection is dialled to be spoken to in HTTP/1.1, as workers do it. */
export function secureDial({ domain, roots, httpsPort }: Context, address: string): Dial & { tls: TlsDial } {
  return { address, port: httpsPort, tls: { host: domain, roots, protocols: ["http/1.1"] } };
}

/** Opens a connection for one exchange, for a limited time, and closes it. */
export function onWire<T>(
  clock: Clock,
  dial: Dial,
  limitMs: number,
  act: (wire: Wire) => Promise<T>,
): Promise<T> {
  return within(clock, limitMs, async (signal) => {
    const wire = await Wire.open(dial, signal);
    try {
      return await act(wire);
    } finally {
      wire.close();
    }
  });
}

/** What a thrown error says, as the end of a sentence, for a terminal. */
export function explain(error: unknown): string {
  return oneLine(describeNetworkError(error));
}

/** Whether this machine has no way to an address of that kind, so that nothing is said about the peer. */
export function lacksRoute(error: unknown): boolean {
  return ["ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT"].includes(errorCode(error) ?? "");
}

/** Runs a step that never throws. */
export async function attempt(target: string, act: () => Promise<Outcome>): Promise<Outcome> {
  try {
    return await act();
  } catch (error) {
    return { target, ok: false, details: oneLine(messageOf(error)) };
  }
}
