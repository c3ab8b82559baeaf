/**
 * How a relay shows what a proxy in front of it does to streams: an event stream whose parts leave apart.
 * No key is needed, and nothing asks the proxy to treat it well.
 */

/** Parts of the event stream, and the pause before each but the first. */
export const STREAM_CHECK_PARTS = 3;
export const STREAM_CHECK_PAUSE_MS = 500;

/** By what a part is known in the text of the stream. @param number from 1 */
export function partMark(number: number): string {
  return `"part":${number}`;
}
