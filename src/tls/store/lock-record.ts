import { z } from "zod";
import type { ProcessIdentity } from "./process-identity.ts";

/** What stands in a lock's file. */
export type LockRecord = (ProcessIdentity & { released: false }) | { released: true };

/** A holder as it stands in its file; what only people read is in it too. */
export interface Holder extends ProcessIdentity {
  hostname: string;
  token: string;
  /** How often the lease was renewed; what waiters see change. */
  beats: number;
  /** By the holder's own clock, for people alone. */
  expiresAt: string;
}

/** Every record has this length, so that one replaces another in place. */
const RECORD_LENGTH = 512;

const schema = z.union([
  z.object({ released: z.literal(true) }),
  z.object({
    released: z.literal(false),
    host: z.string(),
    pid: z.number().int().positive(),
    startedAt: z.string().optional(),
  }),
]);

/** What a holder writes at each beat. */
export function heldRecord(holder: Holder): Uint8Array {
  const hostname = holder.hostname.slice(0, 100);
  return padded({ released: false, ...holder, hostname });
}

/** What a holder leaves. @param token of the holder, for people alone */
export function releasedRecord(token: string): Uint8Array {
  return padded({ released: true, token });
}

/** `undefined` for one that is not, or not yet, whole. */
export function readRecord(text: string): LockRecord | undefined {
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function padded(record: object): Uint8Array {
  return Buffer.from(`${JSON.stringify(record).padEnd(RECORD_LENGTH - 1)}\n`);
}
