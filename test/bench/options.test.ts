import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { readOptions } from "../../bench/options.ts";
import { UsageError } from "../../src/base/errors.ts";

describe("readOptions", () => {
  test("runs everything by default, in five rounds", () => {
    const options = readOptions([]);
    expect(options?.scenarios.map(({ name }) => name)).toEqual([
      "latency",
      "rps",
      "flat",
      "bulk",
      "paced-100",
      "paced-1000",
      "upload",
      "download",
    ]);
    expect(options?.scenarios.every(({ rounds }) => rounds === 5)).toBe(true);
  });

  test("keeps within its time: 6 minutes for three subjects, one minute when quick", () => {
    const plannedMs = (quick: boolean) =>
      (readOptions(quick ? ["--quick"] : [])?.scenarios ?? [])
        .map(
          ({ rounds, plan }) =>
            3 * rounds * (plan.warmupMs + plan.durationMs + (plan.kind === "streams" ? plan.rampMs : 0)),
        )
        .reduce((sum, ms) => sum + ms, 0);
    expect(plannedMs(false)).toBeLessThan(330_000);
    expect(plannedMs(true)).toBeLessThan(50_000);
  });

  test("picks scenarios, rounds, peers and a results file", () => {
    const options = readOptions([
      "--only",
      "rps,flat",
      "--rounds",
      "3",
      "--json",
      "a.json",
      "--peer",
      "old=http://127.0.0.1:9/",
      "--peer-pids",
      "old=12,34",
    ]);
    expect(options?.scenarios.map(({ name, rounds }) => [name, rounds])).toEqual([
      ["rps", 3],
      ["flat", 3],
    ]);
    expect(options?.peers).toEqual([{ name: "old", baseUrl: "http://127.0.0.1:9", pids: [12, 34] }]);
    expect(options?.jsonFile).toBe(join(import.meta.dir, "../../bench/results/a.json"));
    expect(readOptions(["--json", "/tmp/x.json"])?.jsonFile).toBe("/tmp/x.json");
  });

  test("measures with and without keys, limits and usage if asked to", () => {
    expect([readOptions([])?.care, readOptions(["--care"])?.care]).toEqual([false, true]);
    expect(() => readOptions(["--binary", "full=/x"])).toThrow(UsageError);
  });

  test("gives help instead of a run", () => {
    expect(readOptions(["--help"])).toBeUndefined();
  });

  test.each([
    ["--quik", "quik"],
    ["--only latency,nothing", 'scenario "nothing"'],
    ["--rounds 0", "--rounds"],
    ["--peer x", "--peer"],
    ["--peer x=https://example.com", "--peer x"],
    ["--peer nginx=http://127.0.0.1:1", '"nginx"'],
    ["--peer a=http://127.0.0.1:1 --binary a=/bin/true", '"a"'],
    ["--binary ../up=/bin/true", '"../up"'],
    ["--peer-pids a=1", "--peer-pids a"],
    ["--backend-port 99999", "--backend-port"],
    ["stray", "stray"],
  ])("refuses %s and names what is wrong", (line, named) => {
    expect(() => readOptions(line.split(" "))).toThrow(UsageError);
    expect(() => readOptions(line.split(" "))).toThrow(named);
  });
});
