import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { RequestRecord } from "../../../src/server/request-record.ts";
import { startRelay, type PlainRelay } from "../../../src/server/index.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLog } from "../../../src/base/log.ts";
import { startWorker } from "../../../src/worker/index.ts";
import { Inbox } from "../../support/inbox.ts";
import { startLlama, type Llama } from "../../support/llama.ts";
import { lacksPart } from "../../support/parts.ts";
import { relayConfig, SECRET } from "../../support/relays.ts";

const START_MS = 90_000;
const skip = lacksPart("llama");
const request = { messages: [{ role: "user", content: "Grüße" }], max_tokens: 24, temperature: 0, seed: 7 };

describe.skipIf(skip)("Usage of a real llama.cpp server", () => {
  const stack = new AsyncDisposableStack();
  const records = new Inbox<RequestRecord>();
  let llama: Llama;
  let relay: PlainRelay;

  beforeAll(async () => {
    llama = stack.use(await startLlama());
    relay = startRelay(relayConfig({}), {
      clock: systemClock,
      log: silentLog,
      usage: {
        ended: (record) => records.put(record),
        routes: [],
        warnings: () => [],
        backlog: () => ({ bytes: 0, lost: 0 }),
        async close() {},
      },
    });
    stack.defer(() => relay.stop());
    const joined = Promise.withResolvers<void>();
    stack.use(
      startWorker(
        {
          proxyUrl: relay.url,
          workerSecret: SECRET,
          backendUrl: llama.url,
          models: { all: true, names: [] },
          workerName: "llama",
          maxConcurrency: 1,
          provider: "local",
          linkVersion: "auto",
          drainTimeoutMs: 0,
          firstByteTimeoutMs: 0,
          idleTimeoutMs: 0,
        },
        {
          clock: systemClock,
          log: silentLog,
          random: () => 0,
          onEvent: ({ kind }) => kind === "registered" && joined.resolve(),
        },
      ),
    );
    await joined.promise;
  }, START_MS);

  afterAll(() => stack.disposeAsync());

  const post = (path: string, body: object): Promise<Response> =>
    fetch(relay.url + path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: llama.model, ...body }),
    });

  interface Reported {
    model: string;
    usage: { prompt_tokens: number; completion_tokens?: number };
  }

  for (const [path, body] of [
    ["/v1/chat/completions", request],
    ["/v1/completions", { prompt: "once", max_tokens: 9 }],
    ["/v1/embeddings", { input: "once upon a time" }],
  ] as const) {
    test(`is what it reports: ${path}`, async () => {
      const { model, usage } = (await (await post(path, body)).json()) as Reported;
      const { tokens, servedModel } = await records.next();
      expect(servedModel).toBe(model);
      expect(tokens).toEqual({
        prompt: usage.prompt_tokens,
        completion: usage.completion_tokens ?? 0,
        cached: 0,
        estimated: false,
      });
      expect(usage.prompt_tokens).toBeGreaterThan(0);
    });
  }

  test("of a stream is close to what a whole answer has, whether it reports it or not", async () => {
    const whole = (await (await post("/v1/chat/completions", request)).json()) as Reported;
    await records.next();
    const text = await (await post("/v1/chat/completions", { ...request, stream: true })).text();
    expect(text).toEndWith("data: [DONE]\n\n".replaceAll("\n", text.includes("\r\n") ? "\r\n" : "\n"));
    expect(text).not.toContain('"choices":[]');
    const { tokens, servedModel } = await records.next();
    expect(servedModel).toBe(whole.model);
    const { completion_tokens: made = 0 } = whole.usage;
    expect(Math.abs(tokens!.completion - made)).toBeLessThanOrEqual(tokens!.estimated ? 4 : 0);
  });
});
