/**
 * Where a relay shows what a proxy in front of it does to streams and to silent WebSockets: an event
 * stream whose parts leave apart, or, for an upgrade, a WebSocket on which nothing is said. No key is
 * needed.
 */
export const STREAM_CHECK_PATH = "/v1/stream-check";

/** Parts of the event stream, and the pause before each but the first. */
export const STREAM_CHECK_PARTS = 3;
export const STREAM_CHECK_PAUSE_MS = 500;

/** By what a part is known in the text of the stream. @param number from 1 */
export function partMark(number: number): string {
  return `"part":${number}`;
}
