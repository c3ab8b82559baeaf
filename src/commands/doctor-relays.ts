import { systemClock } from "../base/clock.ts";
import { describeNetworkError } from "../base/network-error.ts";
import type { RelayAnswer } from "../doctor/relays.ts";
import {
  callRelay,
  objectIn,
  RelayUnreachable,
  type RelayAddress,
  type RelayCall,
  type RelayReply,
} from "./relay-call.ts";

const TIMEOUT_MS = 10_000;

/** What a relay tells whoever asks. @throws if nothing answers as a relay does */
export async function askRelay(relay: RelayAddress, dial?: RelayCall["dial"]): Promise<RelayAnswer> {
  const call = { timeoutMs: TIMEOUT_MS, ...(dial !== undefined && { dial }) };
  const askedMs = systemClock.wall();
  const health = await reach(relay, "/health", call);
  const answeredMs = systemClock.wall();
  const told = objectIn(health);
  const { version, uptime_secs: uptimeSecs } = told;
  if (typeof version !== "string" || typeof uptimeSecs !== "number") {
    throw new Error(`what answers there is no modelrelay (HTTP ${health.status})`);
  }
  const { ready, reasons, warnings } = objectIn(await reach(relay, "/readyz", call));
  const dateMs = Date.parse(health.headers.get("date") ?? "");
  return {
    version,
    uptimeSecs,
    ready: ready === true,
    troubles: [...texts(reasons), ...texts(warnings)],
    dateMs: Number.isNaN(dateMs) ? undefined : dateMs,
    askedMs,
    answeredMs,
  };
}

async function reach(relay: RelayAddress, path: string, call: RelayCall): Promise<RelayReply> {
  try {
    return await callRelay(relay, path, call);
  } catch (error) {
    // The address stands beside it already.
    if (error instanceof RelayUnreachable)
      throw new Error(describeNetworkError(error.cause), { cause: error });
    throw error;
  }
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}
