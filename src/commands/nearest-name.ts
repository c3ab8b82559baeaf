/** Edits that turn `a` into `b`: insert, delete, replace, or swap two neighbours. */
function distance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + (same ? 0 : 1));
      if (a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, (beforeLast[j - 2] ?? 0) + 1);
      row[j] = best;
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}

/**
 * The known name that was probably meant, or `undefined` if none is close: at most one edit for every
 * three letters, since a suggestion that is far off misleads more than it helps.
 */
export function nearestName(given: string, known: readonly string[]): string | undefined {
  // Long foreign text cannot be a typing error, and comparing it costs length times length.
  if (given.length > 64) return undefined;
  const text = given.toLowerCase();
  let best: string | undefined;
  let least = Math.max(1, Math.floor(text.length / 3)) + 1;
  for (const name of known) {
    const edits = distance(text, name);
    if (edits < least) [best, least] = [name, edits];
  }
  return best;
}
