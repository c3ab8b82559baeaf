import { FFIType, ptr } from "bun:ffi";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Outcome } from "../base/check-result.ts";
import { formatDuration } from "../base/duration.ts";
import { openLibc } from "../base/libc.ts";
import { bad, doubtful, good, skipped, type Machine } from "./context.ts";
import type { RelayAnswer } from "./relays.ts";

/** A `Date` header has whole seconds, and an answer takes its time. */
const NOTICEABLE_MS = 10_000;
/** Certificates, orders of them and tokens are refused by then. */
const HARMFUL_MS = 300_000;
/** What adjtimex(2) returns where nobody keeps the clock right. */
const TIME_ERROR = 5;
/** Of `struct timex`, which has 208 of them on the processors that there are builds for. */
const TIMEX_BYTES = 256;

const SET = "Turn on the time service: sudo timedatectl set-ntp true";

/**
 * Whether this machine's clock can be believed: by that of the relay it dials, else by what was written here
 * before and by what the system says of its time service. Nobody else is asked.
 */
export function checkClock(
  machine: Machine,
  dataDir: string | undefined,
  dialled: RelayAnswer | undefined,
): Outcome {
  const now = machine.clock.wall();
  const target = new Date(now).toISOString().replace(/\.\d+/, "");
  const ahead = newestWrite(dataDir) - now;
  if (ahead > HARMFUL_MS) {
    const details = `files in the data directory were written ${formatDuration(ahead)} later than that`;
    return bad(target, details, `Set the clock. ${SET}`);
  }
  if (dialled?.dateMs !== undefined)
    return judge(target, dialled.dateMs, dialled.askedMs, dialled.answeredMs);
  return judgeState(target, machine.timeState());
}

/** @param state as adjtimex(2) gives it; `undefined` where the system does not say */
function judgeState(target: string, state: number | undefined): Outcome {
  if (state === undefined) return skipped(target, "this system does not say whether it is kept right");
  if (state === TIME_ERROR) return doubtful(target, "no time service keeps it right", SET);
  return good(target, "kept right by a time service");
}

/** What the relay's `Date` allows: any moment of its second, between the question and the answer. */
function judge(target: string, dateMs: number, askedMs: number, answeredMs: number): Outcome {
  const behind = dateMs - answeredMs;
  const ahead = askedMs - (dateMs + 1_000);
  const off = Math.max(behind, ahead, 0);
  const way = behind > ahead ? "behind" : "ahead of";
  if (off < NOTICEABLE_MS) return good(target, "as the relay's");
  const details = `${formatDuration(off)} ${way} the relay's`;
  const action = `See which of the two is wrong. ${SET}`;
  return off < HARMFUL_MS ? doubtful(target, details, action) : bad(target, details, action);
}

/** What the kernel knows of the program that keeps the time, whichever it is; `undefined` where it does not say. */
export function kernelClock(): number | undefined {
  try {
    const { ptr: pointer, i32 } = FFIType;
    const { adjtimex } = openLibc({ adjtimex: { args: [pointer], returns: i32 } });
    const state = adjtimex(ptr(new Uint8Array(TIMEX_BYTES)));
    // In a container the call is often forbidden.
    return state < 0 ? undefined : state;
  } catch {
    return undefined;
  }
}

/** When a file of the relay was last written, in ms since the epoch; 0 if there is none. */
function newestWrite(dataDir: string | undefined): number {
  if (dataDir === undefined) return 0;
  try {
    const times = readdirSync(dataDir).map(
      (name) => statSync(join(dataDir, name), { throwIfNoEntry: false })?.mtimeMs ?? 0,
    );
    return Math.max(0, ...times);
  } catch {
    return 0;
  }
}
