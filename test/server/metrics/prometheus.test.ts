import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock, type Clock } from "../../../src/base/clock.ts";
import { PING_INTERVAL_MS } from "../../../src/protocol/limits.ts";
import { startRig, type Rig } from "../../faults/rig.ts";
import { lacksPart } from "../../support/parts.ts";
import { promtool, startPrometheus, type Prometheus } from "../../support/prometheus.ts";
import { dashboardQueries, dashboardVariables, DOCS } from "./dashboard.ts";
import { scrapeUntil } from "./samples.ts";

const RULES = join(DOCS, "alerts.yml");
const missing = lacksPart("prometheus", "promtool");

/** Pings come soon, and everything else in its time. */
const hurried: Clock = {
  ...systemClock,
  after: (delayMs, fire) => systemClock.after(delayMs === PING_INTERVAL_MS ? 50 : delayMs, fire),
};

/** What a relay without certificates and without a database has nothing to say about. */
const NOT_HERE = /modelrelay_(certificate|database|usage|bodies)_/;

const names = (text: string): Set<string> =>
  new Set([...text.matchAll(/\b(?:modelrelay|process)_\w+/g)].map(([name]) => name));

function chat(rig: Rig, body: object, init: RequestInit = {}): Promise<Response> {
  const url = `http://127.0.0.1:${rig.port}/v1/chat/completions`;
  return fetch(url, { method: "POST", body: JSON.stringify(body), keepalive: false, ...init });
}

/** One request of each kind: answered, streamed, failed, refused and left. */
async function traffic(rig: Rig): Promise<void> {
  const plain = chat(rig, { model: "m" });
  (await rig.backend.next()).answer(200, {
    usage: { prompt_tokens: 7, completion_tokens: 5, prompt_tokens_details: { cached_tokens: 2 } },
  });
  await (await plain).text();

  const streamed = chat(rig, { model: "m", stream: true });
  const stream = await rig.backend.next();
  stream.head(200, { "content-type": "text/event-stream" });
  stream.write("data: 1\n\n");
  const reader = (await streamed).body!.getReader();
  await reader.read();
  stream.write("data: 2\n\n");
  stream.end();
  while (!(await reader.read()).done);

  const failing = chat(rig, { model: "m" });
  const broken = await rig.backend.next();
  // A request that was cut before any answer to it would be sent again.
  broken.head(200, { "content-type": "application/json", "content-length": "10" });
  broken.write("{");
  await broken.flushed();
  broken.reset();
  await failing.then((answer) => answer.text()).catch(() => "");
  await (await chat(rig, { model: "nobody has it" })).text();

  const leaving = new AbortController();
  const left = chat(rig, { model: "m" }, { signal: leaving.signal }).catch(() => undefined);
  const unread = await rig.backend.next();
  leaving.abort();
  await left;
  await unread.closed;
}

/** Asks until there is an answer with a number in it. */
async function answered(prometheus: Prometheus, expression: string): Promise<void> {
  for (;;) {
    const samples = await prometheus.query(expression);
    if (samples.some(({ value: [, value] }) => value !== "NaN")) return;
  }
}

describe.skipIf(missing)("A real Prometheus", () => {
  test("scrapes the relay, and has an answer to every question of the dashboard", async () => {
    await using rig = await startRig({
      relay: { metricsToken: "scrape" },
      relayClock: hurried,
      worker: { linkVersion: "auto" },
    });
    const target = `127.0.0.1:${rig.port}`;
    await using prometheus = await startPrometheus({ target, token: "scrape", rules: [RULES] });
    // A rate needs two samples with something in between, of series that are there before.
    await traffic(rig);
    await answered(prometheus, "modelrelay_requests_total");
    await traffic(rig);
    const queries = dashboardQueries.filter(({ expression }) => !NOT_HERE.test(expression));
    expect(queries.length).toBeGreaterThan(50);
    for (const { filled } of queries) await answered(prometheus, filled);
    for (const { filled } of dashboardQueries) await prometheus.query(filled);
    for (const { query } of dashboardVariables.slice(1)) {
      const [, series, label] = /^label_values\((\w+), (\w+)\)$/.exec(
        typeof query === "string" ? query : query.query,
      )!;
      expect(await prometheus.query(`count by (${label}) (${series})`)).not.toEqual([]);
    }
    const { activeTargets } = await prometheus.get<{
      activeTargets: { health: string; lastError: string }[];
    }>("/api/v1/targets");
    expect(activeTargets.map(({ health, lastError }) => [health, lastError])).toEqual([["up", ""]]);
    const { groups } = await prometheus.get<{ groups: { rules: { name: string; health: string }[] }[] }>(
      "/api/v1/rules",
    );
    expect(groups.flatMap(({ rules }) => rules).filter(({ health }) => health === "err")).toEqual([]);
  }, 30_000);

  test("is told in words that promtool has nothing to say against", async () => {
    await using rig = await startRig({ relay: { openMetrics: true } });
    await traffic(rig);
    await scrapeUntil(`http://127.0.0.1:${rig.port}`, (samples) =>
      samples.has("modelrelay_event_loop_lag_mean_seconds"),
    );
    const text = await (await fetch(`http://127.0.0.1:${rig.port}/metrics`, { keepalive: false })).text();
    expect(promtool(["check", "metrics"], text)).toEqual({ ok: true, said: "" });
  });

  test("takes the alert rules, which fire and keep still as they should", () => {
    expect(promtool(["check", "rules", RULES])).toMatchObject({ ok: true });
    const tested = promtool(["test", "rules", join(import.meta.dir, "alerts.test.yml")]);
    expect(tested.said).toContain("SUCCESS");
    expect(tested.ok).toBe(true);
  });
});

describe("The dashboard, the alerts and their page", () => {
  const rules = readFileSync(RULES, "utf8");
  const page = readFileSync(join(DOCS, "metrics.md"), "utf8");
  const alerts = [...rules.matchAll(/- alert: (\w+)/g)].map(([, name]) => name ?? "");

  test("name metrics that the page explains, and the page no others", async () => {
    await using rig = await startRig({ relay: { openMetrics: true } });
    await traffic(rig);
    const url = `http://127.0.0.1:${rig.port}`;
    await scrapeUntil(url, (samples) => samples.has("modelrelay_event_loop_lag_mean_seconds"));
    const text = await (await fetch(`${url}/metrics`, { keepalive: false })).text();
    const told = new Set([...text.matchAll(/^# TYPE (\w+)/gm)].map(([, name]) => name ?? ""));
    const explained = new Set(
      [...page.matchAll(/^\| `((?:modelrelay|process)_\w+)`/gm)].map(([, name]) => name ?? ""),
    );
    const elsewhere = [...explained].filter((name) => NOT_HERE.test(name));
    expect([...explained].filter((name) => !NOT_HERE.test(name)).sort()).toEqual([...told].sort());
    expect(elsewhere).toHaveLength(7);
    const asked = names(dashboardQueries.map(({ expression }) => expression).join("\n") + rules);
    const families = [...asked].map((name) => (explained.has(name) ? name : name.replace(/_bucket$/, "")));
    expect(families.filter((name) => !explained.has(name))).toEqual([]);
    const shown = names(
      dashboardQueries.map(({ expression }) => expression.replaceAll("_bucket", "")).join("\n"),
    );
    expect([...explained].filter((name) => !shown.has(name))).toEqual([]);
  });

  test("have a text for each alert, and a test", () => {
    const tests = readFileSync(join(import.meta.dir, "alerts.test.yml"), "utf8");
    expect(alerts.length).toBeGreaterThan(10);
    expect(alerts.filter((name) => !page.includes(`### ${name}\n`))).toEqual([]);
    expect(alerts.filter((name) => !rules.includes(`metrics.md#${name.toLowerCase()}"`))).toEqual([]);
    expect(alerts.filter((name) => !tests.includes(`alertname="${name}"`))).toEqual([]);
  });
});
