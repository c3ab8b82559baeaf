import { describe, expect, test } from "bun:test";
import type { RawWorker } from "../../support/raw-worker.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { CHAT, HI, startLimited } from "./limited-relay.ts";

/** Answers each request that comes, whole. */
async function answerAll(worker: RawWorker): Promise<never> {
  for (;;) worker.complete(await worker.next("request"), 200, '{"ok":true}');
}

async function codeOf(response: Response): Promise<unknown> {
  return ((await response.json()) as { error: { code?: unknown } }).error.code;
}

describe("A relay with limits", () => {
  test("refuses with 429 what is over them, and says which, how much and when", async () => {
    await using limited = startLimited({ anonymous: { requestsPerMinute: 2 } });
    void answerAll(await limited.worker()).catch(() => {});
    expect((await limited.post(CHAT, HI)).status).toBe(200);
    const last = await limited.post(CHAT, HI);
    expect(last.headers.get("x-ratelimit-limit-requests")).toBe("2");
    expect(last.headers.get("x-ratelimit-remaining-requests")).toBe("0");
    expect(last.headers.get("x-ratelimit-reset-requests")).toMatch(/^(1m0s|59(\.\d+)?s)$/);
    expect(last.headers.get("x-ratelimit-limit-tokens")).toBeNull();
    expect(last.headers.get("anthropic-ratelimit-requests-limit")).toBeNull();
    const refused = await limited.post(CHAT, HI);
    expect(refused.status).toBe(429);
    expect(await refused.json()).toEqual({
      error: {
        message: expect.stringMatching(
          /^This address may send 2 requests per minute, and has sent as many: try again in (30|29\.\d) s$/,
        ) as string,
        type: "rate_limit_error",
        param: null,
        code: "rate_limit_exceeded",
      },
    });
    const waitMs = Number(refused.headers.get("retry-after-ms"));
    expect(waitMs).toBeGreaterThan(20_000);
    expect(waitMs).toBeLessThanOrEqual(30_000);
    expect(refused.headers.get("retry-after")).toBe(String(Math.ceil(waitMs / 1_000)));
    expect(refused.headers.get("x-should-retry")).toBeNull();
    expect(refused.headers.get("x-modelrelay-error")).toBe("relay");
    expect(refused.headers.get("x-ratelimit-remaining-requests")).toBe("0");
  });

  test("writes them as Anthropic does where Anthropic's clients ask", async () => {
    await using limited = startLimited({
      anonymous: { requestsPerMinute: 1 },
      relay: { tokensPerMinute: 60_000 },
    });
    void answerAll(await limited.worker()).catch(() => {});
    const body = { ...HI, max_tokens: 50 };
    const answer = await limited.post("/v1/messages", body);
    expect(answer.status).toBe(200);
    const sure = Math.ceil(JSON.stringify(body).length / 4) + 50;
    expect(answer.headers.get("anthropic-ratelimit-requests-limit")).toBe("1");
    expect(answer.headers.get("anthropic-ratelimit-requests-remaining")).toBe("0");
    expect(answer.headers.get("anthropic-ratelimit-tokens-limit")).toBe("60000");
    expect(Number(answer.headers.get("anthropic-ratelimit-tokens-remaining"))).toBeGreaterThanOrEqual(
      60_000 - sure,
    );
    expect(answer.headers.get("x-ratelimit-limit-tokens")).toBe("60000");
    const reset = answer.headers.get("anthropic-ratelimit-requests-reset") ?? "";
    expect(reset).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(Math.abs(Date.parse(reset) - Date.now() - 60_000)).toBeLessThan(10_000);
    const refused = await limited.post("/v1/messages", body);
    expect(refused.status).toBe(429);
    expect(await refused.json()).toMatchObject({
      type: "error",
      error: {
        type: "rate_limit_error",
        message: expect.stringContaining("1 request per minute") as string,
      },
    });
  });

  test("lets a browser read what it says of them", async () => {
    await using limited = startLimited({ anonymous: { requestsPerMinute: 1 } });
    const headers = { origin: "https://app.example.com" };
    const exposed = async () =>
      (await limited.post(CHAT, HI, { headers })).headers.get("access-control-expose-headers") ?? "";
    const names = [
      "x-ratelimit-limit-requests",
      "x-ratelimit-remaining-requests",
      "x-ratelimit-reset-requests",
    ];
    expect((await exposed()).split(", ")).toEqual(expect.arrayContaining(names));
    expect((await exposed()).split(", ")).toEqual(
      expect.arrayContaining([...names, "retry-after", "retry-after-ms"]),
    );
  });

  test("lets nobody see the backend's own limits in place of its own", async () => {
    await using limited = startLimited({ relay: { requestsPerMinute: 100 } });
    const worker = await limited.worker();
    const answer = limited.post(CHAT, HI);
    worker.complete(await worker.next("request"), 200, "{}", {
      "content-type": "application/json",
      "x-ratelimit-limit-requests": "7",
      "x-ratelimit-remaining-tokens": "8",
      "anthropic-ratelimit-input-tokens-limit": "9",
    });
    const { headers } = await answer;
    expect(headers.get("x-ratelimit-limit-requests")).toBe("100");
    expect(headers.get("x-ratelimit-remaining-tokens")).toBeNull();
    expect(headers.get("anthropic-ratelimit-input-tokens-limit")).toBeNull();
  });

  test("hands a backend's own limits on where it has none", async () => {
    await using limited = startLimited({});
    const worker = await limited.worker();
    const answer = limited.post(CHAT, HI);
    worker.complete(await worker.next("request"), 200, "{}", { "x-ratelimit-limit-requests": "7" });
    expect((await answer).headers.get("x-ratelimit-limit-requests")).toBe("7");
  });

  test("holds its own lists of models back from nobody, and every path that it relays", async () => {
    await using limited = startLimited({ anonymous: { requestsPerMinute: 1 } });
    void answerAll(await limited.worker()).catch(() => {});
    expect((await limited.post("/v1/embeddings", HI)).status).toBe(200);
    const statuses = await Promise.all(
      [
        CHAT,
        "/v1/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/anything/else",
        "/api/chat",
        "/api/generate",
        "/api/embed",
      ].map(async (path) => (await limited.post(path, HI)).status),
    );
    expect(statuses).toEqual(Array(10).fill(429));
    expect((await fetch(`${limited.relay.url}/v1/models`)).status).toBe(200);
    expect((await fetch(`${limited.relay.url}/v1/models/m`)).status).toBe(200);
    expect((await fetch(`${limited.relay.url}/health`)).status).toBe(200);
  });

  test("sets aside what a request asks for, and refuses one that can never fit without asking it to wait", async () => {
    await using limited = startLimited({ anonymous: { tokensPerMinute: 10_000 } });
    const worker = await limited.worker();
    const first = limited.post(CHAT, { ...HI, max_tokens: 9_000 });
    const request = await worker.next("request");
    const second = await limited.post(CHAT, { ...HI, max_tokens: 5_000 });
    expect(second.status).toBe(429);
    expect(await codeOf(second)).toBe("rate_limit_exceeded");
    expect(second.headers.get("retry-after")).toBe("25");
    // Six answers of 2,000 are more than 10,000.
    expect((await limited.post(CHAT, { ...HI, max_tokens: 2_000, n: 6 })).headers.has("retry-after")).toBe(
      false,
    );
    const never = await limited.post(CHAT, { ...HI, max_tokens: 10_000 });
    expect(never.status).toBe(429);
    expect(await never.text()).toContain("lower the most tokens that the answer may have");
    expect(never.headers.get("retry-after")).toBeNull();
    expect(never.headers.get("x-should-retry")).toBe("false");
    worker.complete(request, 200, "{}");
    await first;
    // What the first one did not use is there again.
    const third = limited.post(CHAT, { ...HI, max_tokens: 5_000 });
    worker.complete(await worker.next("request"), 200, "{}");
    expect((await third).status).toBe(200);
  });

  test("charges what the backend reports, in streams too, and what was made of one that is left", async () => {
    const limit = { tokensPerMinute: 10_000 };
    // Time stands still, so that nothing comes back by itself.
    await using limited = startLimited({ relay: limit }, {}, new ManualClock());
    const worker = await limited.worker();
    /** What is left once nothing runs; an embedding of nothing is answered with no usage. */
    const left = async () => {
      const answer = await limited.post("/api/show", { model: "absent" });
      await answer.text();
      return Number(answer.headers.get("x-ratelimit-remaining-tokens"));
    };
    expect(await left()).toBe(10_000);

    const whole = limited.post(CHAT, { ...HI, max_tokens: 5_000 });
    const asked = await worker.next("request");
    expect(await left()).toBeLessThan(5_000);
    worker.complete(asked, 200, '{"model":"m","usage":{"prompt_tokens":40,"completion_tokens":60}}');
    await (await whole).text();
    expect(await left()).toBe(9_900);

    const streamed = limited.post(CHAT, { ...HI, stream: true });
    const streaming = await worker.next("request");
    worker.chunk(streaming, 'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', "text/event-stream");
    worker.chunk(streaming, 'data: {"choices":[],"usage":{"prompt_tokens":300,"completion_tokens":600}}\n\n');
    worker.chunk(streaming, "data: [DONE]\n\n");
    worker.complete(streaming);
    await (await streamed).text();
    expect(await left()).toBe(9_000);

    const abort = new AbortController();
    const body = { ...HI, stream: true, max_tokens: 8_000 };
    const abandoned = limited.post(CHAT, body, { signal: abort.signal });
    const cut = await worker.next("request");
    const event = 'data: {"choices":[{"delta":{"content":"a"}}]}\n\n';
    for (let token = 0; token < 50; token++) worker.chunk(cut, event, "text/event-stream");
    const reader = (await abandoned).body!.getReader();
    for (let bytes = 0; bytes < 50 * event.length;) bytes += (await reader.read()).value?.length ?? 0;
    abort.abort();
    await worker.next("cancel");
    const prompt = Math.ceil(JSON.stringify(body).length / 4);
    expect(9_000 - (await left())).toBeWithin(prompt + 50, prompt + 70);
  });

  test("counts an address with its whole network, where that is one host's", async () => {
    await using limited = startLimited(
      { anonymous: { requestsPerMinute: 1 } },
      { trustedProxy: ["127.0.0.1"] },
    );
    void answerAll(await limited.worker()).catch(() => {});
    const from = async (address: string) =>
      (await limited.post(CHAT, HI, { headers: { "x-forwarded-for": address } })).status;
    expect(await from("2001:db8:1:2::1")).toBe(200);
    expect(await from("2001:db8:1:2:ffff::9")).toBe(429);
    expect(await from("2001:db8:1:3::1")).toBe(200);
    expect(await from("192.0.2.1")).toBe(200);
    expect(await from("192.0.2.1")).toBe(429);
    expect(await from("192.0.2.2")).toBe(200);
  });

  test("takes up other limits while it runs", async () => {
    await using limited = startLimited({ anonymous: { requestsPerMinute: 1 } });
    void answerAll(await limited.worker()).catch(() => {});
    const status = async () => (await limited.post(CHAT, HI)).status;
    expect([await status(), await status()]).toEqual([200, 429]);
    limited.relay.reload({ limits: { anonymous: { requestsPerMinute: 60 }, relay: {} } });
    // The whole minute's one was used, which is as much of sixty.
    expect(await status()).toBe(429);
    limited.relay.reload({ limits: { anonymous: {}, relay: { concurrency: 1 } } });
    expect([await status(), await status()]).toEqual([200, 200]);
    limited.relay.reload({ corsOrigin: [] });
    expect(await status()).toBe(200);
  });
});
