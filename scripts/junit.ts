/** How many checks or tests ended in each way. */
export interface Totals {
  passed: number;
  failed: number;
  skipped: number;
}

export function addTotals(a: Totals, b: Totals): Totals {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

/** The last line of `npm test`; read by machines, so its form is fixed. */
export function totalsLine(totals: Totals): string {
  return `${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`;
}

function attribute(tag: string, name: string): string | undefined {
  return new RegExp(`\\s${name}="([^"]*)"`).exec(tag)?.[1];
}

/**
 * Reads the report that `bun test --reporter=junit` writes.
 *
 * @param xml the report, or `undefined` if the run ended before it was written
 * @param exitCode of the run
 * @param files every test file that had to run. The report has no word of one that could not be loaded,
 *   so each one missing from it counts as a failure, as does one that holds no test
 * @returns the totals, and the files that ran nothing
 */
export function readReport(
  xml: string | undefined,
  exitCode: number,
  files: readonly string[],
): Totals & { empty: string[] } {
  if (xml === undefined || !xml.includes("</testsuites>"))
    return { passed: 0, failed: 1, skipped: 0, empty: [] };
  const totals: Totals = { passed: 0, failed: 0, skipped: 0 };
  const ran = new Set<string | undefined>();
  for (const [testcase, inside = ""] of xml.matchAll(/<testcase\s[^>]*?(?:\/>|>(.*?)<\/testcase>)/gs)) {
    ran.add(attribute(testcase, "file"));
    if (/<(failure|error)\b/.test(inside)) totals.failed++;
    else if (!inside.includes("<skipped")) totals.passed++;
    // A hook of a skipped group is reported like a test, without a name.
    else if (attribute(testcase, "name") !== "(unnamed)") totals.skipped++;
  }
  const empty = files.filter((file) => !ran.has(file));
  totals.failed += empty.length;
  // An error outside every test fails the run without failing a test.
  if (exitCode !== 0 && totals.failed === 0) totals.failed = 1;
  return { ...totals, empty };
}
