import { describe, expect, test } from "bun:test";
import { readReport, totalsLine } from "../scripts/junit.ts";

const REPORT = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="bun test" tests="6" assertions="0" failures="1" skipped="3" time="0.007">
  <testsuite name="test/a.test.ts" file="test/a.test.ts" tests="6" failures="1" skipped="3">
    <testcase name="ok &lt;x&gt;" classname="" file="test/a.test.ts" line="2" />
    <testcase name="fine" classname="" file="test/a.test.ts" line="3"></testcase>
    <testcase name="bad" classname="" file="test/a.test.ts" line="4">
      <failure type="Error" message="x">Error: x&#10;</failure>
    </testcase>
    <testcase name="(unnamed)" classname="skipped group" file="test/a.test.ts">
      <skipped />
    </testcase>
    <testcase name="skipped" classname="skipped group" file="test/a.test.ts" line="5">
      <skipped />
    </testcase>
    <testcase name="later" classname="" file="test/a.test.ts" line="6">
      <skipped message="TODO" />
    </testcase>
  </testsuite>
</testsuites>`;

describe("The totals of a check", () => {
  test("are those of the test report", () => {
    expect(readReport(REPORT, 1, ["test/a.test.ts"])).toEqual({
      passed: 2,
      failed: 1,
      skipped: 2,
      empty: [],
    });
  });

  test("count a test file that ran nothing as a failure, and name it", () => {
    const { failed, empty } = readReport(REPORT, 1, ["test/a.test.ts", "test/b.test.ts"]);
    expect({ failed, empty }).toEqual({ failed: 2, empty: ["test/b.test.ts"] });
  });

  test("hold a failure when the run failed and no test did", () => {
    const clean = REPORT.replace(/<failure.*failure>/, "");
    expect(readReport(clean, 0, []).failed).toBe(0);
    expect(readReport(clean, 1, []).failed).toBe(1);
  });

  test("hold a failure when the run ended without a report", () => {
    expect(readReport(undefined, 0, [])).toEqual({ passed: 0, failed: 1, skipped: 0, empty: [] });
    expect(readReport("<testsuites", 137, []).failed).toBe(1);
  });

  test("are printed in the one form that machines read", () => {
    expect(totalsLine({ passed: 12, failed: 0, skipped: 3 })).toBe("12 passed, 0 failed, 3 skipped");
  });
});
