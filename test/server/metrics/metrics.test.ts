import { describe, expect, test } from "bun:test";
import { healthAt, startRig, type Rig, type RigOptions } from "../../faults/rig.ts";
import { family, scrape, scrapeUntil } from "./samples.ts";

const CHAT = 'model="m",path="/v1/chat/completions"';

async function openRig(options: RigOptions = {}): Promise<Rig & { url: string }> {
  const rig = await startRig({ ...options, relay: { openMetrics: true, ...options.relay } });
  return Object.assign(rig, { url: `http://127.0.0.1:${rig.port}` });
}

function chat(rig: Rig, body: object, init: RequestInit = {}): Promise<Response> {
  return fetch(`http://127.0.0.1:${rig.port}/v1/chat/completions`, {
    method: "POST",
    body: JSON.stringify(body),
    keepalive: false,
    ...init,
  });
}

describe("Metrics", () => {
  test("count a request with its bytes, its times and its worker", async () => {
    await using rig = await openRig();
    const body = { model: "m", messages: [] };
    const answer = chat(rig, body);
    const usage = { prompt_tokens: 7, completion_tokens: 5, prompt_tokens_details: { cached_tokens: 2 } };
    const text = JSON.stringify({ usage });
    (await rig.backend.next()).answer(200, text);
    await (await answer).text();
    const samples = await scrape(rig.url);
    expect(family(samples, "modelrelay_requests_total")).toEqual({
      [`modelrelay_requests_total{${CHAT},status="200",outcome="complete"}`]: 1,
    });
    expect(samples.get('modelrelay_request_body_bytes_total{model="m"}')).toBe(JSON.stringify(body).length);
    expect(samples.get('modelrelay_response_body_bytes_total{model="m"}')).toBe(text.length);
    for (const [name, count] of [["prompt", 7] as const, ["completion", 5] as const, ["cached", 2] as const])
      expect(samples.get(`modelrelay_${name}_tokens_total{model="m",source="reported"}`)).toBe(count);
    for (const name of ["queue_wait", "first_byte", "request_duration"])
      expect(samples.get(`modelrelay_${name}_seconds_count{model="m"}`)).toBe(1);
    const first = samples.get('modelrelay_first_byte_seconds_sum{model="m"}') ?? 0;
    expect(samples.get('modelrelay_request_duration_seconds_sum{model="m"}')).toBeGreaterThanOrEqual(first);
    expect(samples.get('modelrelay_request_duration_seconds_bucket{model="m",le="+Inf"}')).toBe(1);
    expect(samples.has('modelrelay_stream_mean_gap_seconds_count{model="m"}')).toBe(false);
    expect(samples.get('modelrelay_worker_requests_total{worker="rig"}')).toBe(1);
    expect(samples.get('modelrelay_worker_errors_total{worker="rig"}')).toBe(0);
  });

  test("tell of the mean and the longest gap of a stream, once a stream", async () => {
    await using rig = await openRig();
    await stream(rig, ["a", "b", "c"]);
    const samples = await scrape(rig.url);
    const mean = samples.get('modelrelay_stream_mean_gap_seconds_sum{model="m"}') ?? 0;
    const longest = samples.get('modelrelay_stream_longest_gap_seconds_sum{model="m"}') ?? 0;
    expect(samples.get('modelrelay_stream_mean_gap_seconds_count{model="m"}')).toBe(1);
    expect(mean).toBeGreaterThan(0);
    expect(longest).toBeGreaterThanOrEqual(mean);
  });

  test("count refusals and failures by their reason, and a model that nobody offers as unknown", async () => {
    await using rig = await openRig({ relay: { apiKey: "right" } });
    const headers = { authorization: "Bearer right" };
    await (await chat(rig, { model: "invented" }, { headers })).text();
    await (await chat(rig, { model: "m" })).text();
    const failing = chat(rig, { model: "m" }, { headers });
    (await rig.backend.next()).reset();
    await (await failing).text();
    const samples = await scrape(rig.url);
    const path = 'path="/v1/chat/completions"';
    expect(family(samples, "modelrelay_requests_total")).toEqual({
      [`modelrelay_requests_total{model="unknown",${path},status="404",outcome="refused"}`]: 1,
      [`modelrelay_requests_total{model="none",${path},status="401",outcome="refused"}`]: 1,
      [`modelrelay_requests_total{${CHAT},status="502",outcome="failed"}`]: 1,
    });
    expect(family(samples, "modelrelay_refusals_total")).toEqual({
      'modelrelay_refusals_total{reason="model_not_found"}': 1,
      'modelrelay_refusals_total{reason="invalid_api_key"}': 1,
    });
    expect(family(samples, "modelrelay_failures_total")).toEqual({
      'modelrelay_failures_total{reason="backend_unreachable"}': 1,
    });
    expect(samples.get('modelrelay_worker_errors_total{worker="rig"}')).toBe(1);
  });

  test("count a client that leaves by where its request stood", async () => {
    await using rig = await openRig();
    const streaming = new AbortController();
    const waiting = new AbortController();
    const running = chat(rig, { model: "m", stream: true }, { signal: streaming.signal });
    const exchange = await rig.backend.next();
    const queued = chat(rig, { model: "m" }, { signal: waiting.signal }).catch(() => undefined);
    const full = await scrapeUntil(
      rig.url,
      (samples) => samples.get('modelrelay_queue_length{priority="normal"}') === 1,
    );
    expect(full.get("modelrelay_requests_in_flight")).toBe(1);
    expect(full.get('modelrelay_worker_in_flight{worker="rig"}')).toBe(1);
    expect(full.get("modelrelay_bytes_held")).toBeGreaterThan(0);
    waiting.abort();
    await queued;
    await scrapeUntil(rig.url, (samples) => cancels(samples).length === 1);
    exchange.head(200, { "content-type": "text/event-stream" });
    exchange.write("data: 1\n\n");
    await (await running).body?.getReader().read();
    streaming.abort();
    await scrapeUntil(rig.url, (samples) => cancels(samples).length === 2);
    const early = new AbortController();
    const third = chat(rig, { model: "m" }, { signal: early.signal }).catch(() => undefined);
    await rig.backend.next();
    early.abort();
    await third;
    const samples = await scrapeUntil(rig.url, (seen) => cancels(seen).length === 3);
    expect(family(samples, "modelrelay_cancels_total")).toEqual({
      'modelrelay_cancels_total{phase="queued",reason="client_disconnect"}': 1,
      'modelrelay_cancels_total{phase="streaming",reason="client_disconnect"}': 1,
      'modelrelay_cancels_total{phase="before_first_byte",reason="client_disconnect"}': 1,
    });
    expect(samples.get('modelrelay_queue_wait_seconds_count{model="m"}')).toBe(3);
    expect(samples.get('modelrelay_request_duration_seconds_count{model="m"}')).toBe(2);
  });

  test("tell how workers stand, and of one that is gone that it is down", async () => {
    await using rig = await openRig({ worker: { maxConcurrency: 3 } });
    const there = await scrape(rig.url);
    const of = (name: string, samples = there) => samples.get(`modelrelay_worker_${name}{worker="rig"}`);
    expect(
      ["up", "capacity", "load", "in_flight", "suspended", "draining", "resting"].map((name) => of(name)),
    ).toEqual([1, 3, 0, 0, 0, 0, 0]);
    expect([of("joins_total"), of("losses_total"), of("round_trip_seconds")]).toEqual([1, 0, undefined]);
    expect(there.get("modelrelay_models_offered")).toBe(1);
    await rig.worker.drain();
    const gone = await scrapeUntil(rig.url, (samples) => of("up", samples) === 0);
    expect([of("capacity", gone), of("losses_total", gone)]).toEqual([0, 0]);
  });

  test("count a worker whose connection is cut as lost, and those that come back as resumed", async () => {
    await using lost = await openRig({ relay: { linkGraceMs: 0 } });
    lost.linkProxy.cut("reset");
    await lost.registered();
    const again = await scrape(lost.url);
    expect(again.get('modelrelay_worker_losses_total{worker="rig"}')).toBe(1);
    expect(again.get('modelrelay_worker_joins_total{worker="rig"}')).toBe(2);

    await using rig = await openRig({ worker: { linkVersion: "auto" } });
    rig.linkProxy.cut("reset");
    const back = await scrapeUntil(
      rig.url,
      (samples) => samples.get('modelrelay_worker_resumes_total{worker="rig"}') === 1,
    );
    expect(back.get('modelrelay_worker_suspensions_total{worker="rig"}')).toBe(1);
    expect(back.get('modelrelay_worker_losses_total{worker="rig"}')).toBe(0);
  });

  test("have the process' own figures, and the lag of the event loop from the second scrape on", async () => {
    await using rig = await openRig();
    const first = await scrape(rig.url);
    expect(first.get("process_resident_memory_bytes")).toBeGreaterThan(1e6);
    expect(first.get("process_cpu_seconds_total")).toBeGreaterThan(0);
    const startedAt = Date.now() / 1_000 - process.uptime();
    expect(first.get("process_start_time_seconds")).toBeCloseTo(startedAt, 1);
    expect(Object.keys(family(first, "modelrelay_build_info"))[0]).toMatch(
      /version="\d+\.\d+\.\d+",commit="\w+"/,
    );
    const second = await scrapeUntil(rig.url, (samples) =>
      samples.has("modelrelay_event_loop_lag_p99_seconds"),
    );
    expect(second.get("modelrelay_event_loop_lag_max_seconds")).toBeGreaterThan(0);
    expect(second.get("modelrelay_event_loop_lag_max_seconds")).toBeLessThan(10);
  });

  test.skipIf(process.platform !== "linux")("have the number of open files", async () => {
    await using rig = await openRig();
    const samples = await scrape(rig.url);
    expect(samples.get("process_open_fds")).toBeGreaterThan(3);
    expect(samples.get("process_max_fds")).toBeGreaterThan(samples.get("process_open_fds") ?? 0);
  });
});

describe("GET /metrics", () => {
  test("is open where the relay is, and asks for the token elsewhere", async () => {
    await using rig = await startRig({
      relay: { metricsToken: "scrape-me", adminToken: "admin", apiKey: "key" },
    });
    const asked = async (authorization?: string) => {
      const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
      const response = await fetch(`http://127.0.0.1:${rig.port}/metrics`, { headers, keepalive: false });
      return [response.status, (await response.text()).includes("modelrelay_")];
    };
    expect(await asked()).toEqual([401, false]);
    expect(await asked("Bearer wrong")).toEqual([401, false]);
    expect(await asked("Bearer key")).toEqual([401, false]);
    expect(await asked("Bearer scrape-me")).toEqual([200, true]);
    expect(await asked("Bearer admin")).toEqual([200, true]);
  });

  test("makes guessing slow, as the admin token is among those that open it", async () => {
    await using rig = await startRig({ relay: { metricsToken: "scrape-me", adminToken: "admin" } });
    const asked = async (authorization?: string) => {
      const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
      return fetch(`http://127.0.0.1:${rig.port}/metrics`, { headers, keepalive: false });
    };
    for (let times = 0; times < 12; times++) expect((await asked()).status).toBe(401);
    for (let guess = 0; guess < 10; guess++) expect((await asked(`Bearer ${guess}`)).status).toBe(401);
    const throttled = await asked("Bearer admin");
    expect(throttled.status).toBe(429);
    expect(throttled.headers.get("retry-after")).toMatch(/^[12]$/);
    expect(await throttled.json()).toMatchObject({ error: { code: "rate_limit_exceeded" } });
  });

  test("tells nobody anything where no token is set and others can reach the relay", async () => {
    await using rig = await startRig();
    const response = await fetch(`http://127.0.0.1:${rig.port}/metrics`, { keepalive: false });
    expect(response.status).toBe(401);
    expect(await response.json()).toMatchObject({ error: { code: "invalid_metrics_token" } });
  });

  test("speaks OpenMetrics with those who ask for it", async () => {
    await using rig = await openRig();
    const ask = (accept: string) => fetch(`${rig.url}/metrics`, { headers: { accept }, keepalive: false });
    const open = await ask(
      "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
    );
    expect(open.headers.get("content-type")).toBe(
      "application/openmetrics-text; version=1.0.0; charset=utf-8",
    );
    const text = await open.text();
    expect(text).toEndWith("\n# EOF\n");
    expect(text).toContain("# TYPE modelrelay_requests counter\n");
    for (const accept of ["text/plain", "*/*", "application/openmetrics-text;q=0,text/plain"]) {
      const plain = await ask(accept);
      expect(plain.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
      expect(await plain.text()).not.toContain("# EOF");
    }
  });

  test("answers HEAD without a body, and no other method", async () => {
    await using rig = await openRig();
    const head = await fetch(`${rig.url}/metrics`, { method: "HEAD", keepalive: false });
    expect([head.status, await head.text()]).toEqual([200, ""]);
    const post = await fetch(`${rig.url}/metrics`, { method: "POST", keepalive: false });
    expect([post.status, post.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
    await post.text();
    await healthAt(rig.url, () => true);
  });
});

function cancels(samples: ReadonlyMap<string, number>): string[] {
  return [...samples.keys()].filter((series) => series.startsWith("modelrelay_cancels_total"));
}

/** Has a stream of events that come one by one, each when the one before has been read. */
async function stream(rig: Rig, events: string[]): Promise<void> {
  const asked = chat(rig, { model: "m", stream: true });
  const exchange = await rig.backend.next();
  exchange.head(200, { "content-type": "text/event-stream" });
  exchange.write("data: first\n\n");
  const reader = (await asked).body!.getReader();
  for (const event of events) {
    await reader.read();
    exchange.write(`data: ${event}\n\n`);
  }
  exchange.end();
  while (!(await reader.read()).done);
}
