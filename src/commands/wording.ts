import { UsageError } from "../base/errors.ts";
import { nearestName } from "./nearest-name.ts";

/** Longest piece of foreign text in a message. */
const MAX_SHOWN = 80;

/** A value as a message shows it: quoted, cut, control characters escaped, no password of an address. */
export function shown(text: string): string {
  const safe = text.replace(/:\/\/[^/@]*@/g, "://…@");
  return JSON.stringify(safe.length > MAX_SHOWN ? `${safe.slice(0, MAX_SHOWN)}…` : safe);
}

/** A flag or key that may be mistyped: unquoted where it is plain, so that it can be copied. */
export function shownName(name: string): string {
  return /^[\w.-]{1,60}$/.test(name) ? name : shown(name);
}

/**
 * The error for a name that is not known.
 *
 * @param problem the whole first sentence
 * @param known every name that would have been right, as it would be written
 * @param listing where all of them are listed, such as `modelrelay help serve`
 */
export function unknownName(
  problem: string,
  given: string,
  known: readonly string[],
  listing: string,
): UsageError {
  const nearest = nearestName(given, known);
  const hint = nearest === undefined ? "" : `Did you mean ${nearest}? `;
  return new UsageError(problem, { action: `${hint}See all with: ${listing}` });
}
