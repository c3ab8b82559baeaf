/**
 * What both ends of protocol v2 share besides its frames: the JSON in them. Fields that are not known are
 * skipped, optional ones are left out when absent.
 */
import { CLOSE, V2_MAX_CREDIT, V2_MAX_WINDOW, V2_MIN_WINDOW } from "./limits.ts";
import { ProtocolError, type CancelReason, type Feature } from "./messages.ts";
import { optionalCount, type Fields } from "./v1.ts";

export const V2_VERSION = "modelrelay.v2";

/** The feature of a peer that takes packed frames, and packs what it sends to one that does. */
export const DEFLATE_FEATURE = "deflate";

export function namesDeflate(fields: Fields): boolean {
  const features = fields["features"];
  return Array.isArray(features) && features.includes(DEFLATE_FEATURE);
}

/** The field in which an end names its features; of those of v1, `move` alone is no part of v2 as it is. */
export function featureFields(deflate: boolean, others: readonly Feature[]): { features?: string[] } {
  const features = [...(deflate ? [DEFLATE_FEATURE] : []), ...others.filter((name) => name === "move")];
  return features.length > 0 ? { features } : {};
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @throws {ProtocolError} if the payload is no JSON object */
export function jsonFields(payload: Uint8Array, what: string): Fields {
  let parsed: unknown;
  try {
    parsed = JSON.parse(decoder.decode(payload));
  } catch {
    throw new ProtocolError(`Cannot read ${what}: it is not JSON`, CLOSE.protocol);
  }
  if (typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)) return parsed as Fields;
  throw new ProtocolError(`Cannot read ${what}: it is not a JSON object`, CLOSE.protocol);
}

/** The window that a peer announces, within bounds. */
export function windowField(fields: Fields, fallback: number): number {
  const given = optionalCount(fields, "window") ?? fallback;
  return Math.min(Math.max(given, V2_MIN_WINDOW), V2_MAX_WINDOW);
}

/** Bytes of a body that may be sent, with what is granted now. @throws {ProtocolError} if that is too much */
export function addCredit(credit: number, granted: number): number {
  if (credit + granted <= V2_MAX_CREDIT) return credit + granted;
  throw new ProtocolError(
    `Cannot take a credit of ${granted} bytes beside ${credit}: ${V2_MAX_CREDIT} are allowed`,
    CLOSE.flow,
  );
}

/** @throws {ProtocolError} if there are not exactly four bytes */
export function creditOf(payload: Uint8Array): number {
  if (payload.length !== 4)
    throw new ProtocolError("Cannot read a credit: it has four bytes", CLOSE.protocol);
  return new DataView(payload.buffer, payload.byteOffset, 4).getUint32(0);
}

/** ms since the epoch in a ping, and behind the load in a pong. */
export function writeTime(into: Uint8Array, at: number, wallMs: number): void {
  new DataView(into.buffer, into.byteOffset).setBigUint64(at, BigInt(Math.max(0, Math.trunc(wallMs))));
}

/** A reason is for the log only, so one that is not understood is no error. */
export function cancelReason(reason: unknown): CancelReason {
  if (typeof reason === "string") return reason as CancelReason;
  const other = (reason as { other?: unknown } | null | undefined)?.other;
  return { other: typeof other === "string" ? other : "unknown" };
}
