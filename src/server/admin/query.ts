import { AdminRefusal } from "./admin-desk.ts";

/** What operators write behind the `?`. Each throws an `AdminRefusal` that says what is accepted. */

/** Refuses names that nobody reads: a slip in one must not pass for its absence. */
export function refuseOthers(query: URLSearchParams, names: readonly string[]): void {
  for (const name of query.keys()) {
    if (!names.includes(name)) throw invalid(`Cannot use ${quoted(name)}: accepted are ${names.join(", ")}`);
  }
}

export function flag(query: URLSearchParams, name: string): boolean {
  const value = oneOf(query, name, ["1", "true", "0", "false"]);
  return value === "1" || value === "true";
}

export function oneOf<const T extends string>(
  query: URLSearchParams,
  name: string,
  values: readonly T[],
): T | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  const found = values.find((value) => value === text);
  if (found !== undefined) return found;
  throw invalid(`Cannot use ${quoted(text)} as ${name}: expected one of ${values.join(", ")}`);
}

export function invalid(message: string): AdminRefusal {
  return new AdminRefusal(400, "invalid_request", message);
}

export function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
