import { describe, expect, test } from "bun:test";
import type { JobResult } from "../../bench/job.ts";
import type { Cell } from "../../bench/metrics.ts";
import { formatNumber, renderScenario } from "../../bench/report.ts";
import { type Scenario, allScenarios } from "../../bench/scenarios.ts";
import { median, quantiles, spread } from "../../bench/stats.ts";
import { summarise } from "../../bench/summary.ts";

const scenario = (name: string): Scenario => {
  const found = allScenarios(false).find((each) => each.name === name);
  if (found === undefined) throw new Error(`no scenario ${name}`);
  return found;
};

function cell(job: Partial<JobResult>, cpu: Record<string, number> = {}): Cell {
  const none = { count: 0, p50: 0, p99: 0, max: 0 };
  const base = {
    requests: 0,
    requestsTotal: 0,
    tokens: 0,
    tokensTotal: 0,
    windowMs: 1_000,
    latencyMs: none,
    delayMs: none,
    failures: 0,
    generatorCpu: 0.5,
  };
  return { job: { ...base, ...job }, cpu, peakBytes: {} };
}

const latency = (p50: number) => cell({ latencyMs: { count: 100, p50, p99: p50 * 2, max: p50 * 3 } });

describe("statistics", () => {
  test("quantiles are nearest-rank, whatever the order of the samples", () => {
    const samples = Array.from({ length: 200 }, (_, i) => ((i * 77) % 200) + 1);
    expect(quantiles(samples)).toEqual({ count: 200, p50: 100, p99: 198, max: 200 });
    expect(quantiles([])).toEqual({ count: 0, p50: 0, p99: 0, max: 0 });
  });

  test("the median of an even number of values is the mean of the middle two", () => {
    expect([median([5, 1, 3]), median([4, 1, 3, 2]), median([7])]).toEqual([3, 2.5, 7]);
  });

  test("the spread is half the range as a share of the median", () => {
    expect(spread([90, 100, 110])).toBeCloseTo(0.1);
    expect(spread([5])).toBe(0);
  });
});

describe("summarise", () => {
  const rounds = [
    { direct: latency(1), nginx: latency(2), relay: latency(3) },
    { direct: latency(1), nginx: latency(3), relay: latency(4) },
    { direct: latency(2), nginx: latency(3), relay: latency(6) },
  ];
  const summary = summarise(scenario("latency"), ["direct", "nginx", "relay"], rounds);
  const row = (name: string) => summary.rows.find(({ metric }) => metric === name);

  test("takes what is added from the same round, and divides the medians", () => {
    expect(row("added p50")?.figures["nginx"]?.rounds).toEqual([1, 2, 1]);
    expect(row("added p50")?.figures["relay"]).toEqual({
      value: 3,
      spread: 1 / 3,
      rounds: [2, 3, 4],
      vsNginx: { median: 3 },
      withinBudget: false,
    });
  });

  test("gives the ratio to direct for what was measured and not for what was added", () => {
    expect(row("p50")?.figures["relay"]?.vsDirect).toEqual({ median: 3, low: 3, high: 4 });
    expect(row("added p50")?.figures["direct"]).toBeUndefined();
    expect(row("p50")?.figures["direct"]?.vsDirect).toBeUndefined();
  });

  test("gives no ratio where what nginx adds is lost in noise", () => {
    const noisy = [{ direct: latency(2), nginx: latency(1.9), relay: latency(3) }];
    const added = summarise(scenario("latency"), ["direct", "nginx", "relay"], noisy).rows.find(
      ({ metric }) => metric === "added p50",
    );
    expect(added?.figures["relay"]).toEqual({ value: 1, spread: 0, rounds: [1] });
  });

  test("marks a ratio outside its budget and does nothing else", () => {
    const rates = (requests: number) => cell({ requests, requestsTotal: requests });
    const slow = summarise(
      scenario("rps"),
      ["direct", "nginx", "relay"],
      [{ direct: rates(300), nginx: rates(100), relay: rates(84) }],
    );
    expect(slow.rows[0]?.figures["relay"]?.withinBudget).toBe(false);
    expect(slow.rows[0]?.figures["nginx"]?.withinBudget).toBeUndefined();
    expect(renderScenario(slow, ["direct", "nginx", "relay"])).toMatch(
      /requests, \/s .* 84\.0 .* 0\.840x ! +>= 0\.85x/,
    );
  });

  test("sets keys, limits and usage against the same without them", () => {
    const rates = (requests: number) => cell({ requests, requestsTotal: requests });
    const names = ["direct", "bare", "full"];
    const dear = summarise(scenario("rps"), names, [
      { direct: rates(300), bare: rates(100), full: rates(89) },
      { direct: rates(300), bare: rates(200), full: rates(170) },
      { direct: rates(300), bare: rates(100), full: rates(90) },
    ]);
    expect(dear.rows[0]?.figures["full"]?.vsBare).toEqual({ median: 0.89, low: 0.85, high: 0.9 });
    expect(dear.rows[0]?.figures["bare"]?.vsBare).toBeUndefined();
    expect(renderScenario(dear, names)).toMatch(
      /full to bare[^]* requests +0\.890x \(0\.850-0\.900\) ! +>= 0\.9x/,
    );
    const kept = summarise(scenario("rps"), names, [
      { direct: rates(300), bare: rates(100), full: rates(91) },
    ]);
    expect(renderScenario(kept, names)).toMatch(/ requests +0\.910x +>= 0\.9x/);
    expect(
      renderScenario(summarise(scenario("rps"), ["bare"], [{ bare: rates(1) }]), ["bare"]),
    ).not.toContain("full");
  });

  test("leaves out a subject that could not be measured in a round and keeps its other rounds", () => {
    const partial = summarise(
      scenario("latency"),
      ["direct", "relay"],
      [{ direct: latency(1) }, { direct: latency(1), relay: latency(2) }],
    );
    expect(partial.rows[0]?.figures["relay"]?.rounds).toEqual([2]);
    expect(partial.rows[0]?.figures["direct"]?.rounds).toEqual([1, 1]);
  });

  test("divides CPU seconds of all processes by the tokens of the whole job", () => {
    const flat = cell({ tokens: 400_000, tokensTotal: 500_000 }, { relay: 0.75, worker: 0.5 });
    const rows = summarise(scenario("flat"), ["relay"], [{ relay: flat }]).rows;
    expect(rows.find(({ metric }) => metric === "CPU per million tokens")?.figures["relay"]?.value).toBe(2.5);
    expect(rows.find(({ metric }) => metric === "tokens")?.figures["relay"]?.value).toBe(400_000);
  });

  test("carries failures and a busy generator into the report", () => {
    const bad = summarise(
      scenario("flat"),
      ["direct"],
      [{ direct: cell({ failures: 2, failure: "status 500: no", generatorCpu: 0.97 }) }],
    );
    const text = renderScenario(bad, ["direct"]);
    expect(text).toContain("direct: 2 failed, the first with: status 500: no");
    expect(text).toContain("the generator used 97 % of a core");
  });
});

describe("formatNumber", () => {
  test.each([
    [0.2134, "0.213"],
    [4.063, "4.06"],
    [18.71, "18.7"],
    [187.4, "187"],
    [152_345, "152,300"],
    [-0.5, "-0.500"],
  ])("shows %d as %s", (value, text) => {
    expect(formatNumber(value)).toBe(text);
  });
});
