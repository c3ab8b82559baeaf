import * as anthropicSdk from "@anthropic-ai/sdk";
import { describe, expect, test } from "bun:test";
import * as openaiSdk from "openai";
import { rejection, startTestBackend } from "../demo/backend.ts";
import { startRelayed, type Relayed } from "./relayed.ts";

const MODEL = "demo-echo";
/** A whole answer takes seconds then: what ends it before is the test. */
const SLOW = { tokenDelayMs: 100 };

const chat = { model: MODEL, messages: [{ role: "user" as const, content: "hi" }] };
const message = { ...chat, max_tokens: 1_000 };

interface Streams {
  title: string;
  open: (relayed: Relayed, signal?: AbortSignal) => PromiseLike<AsyncIterable<unknown>>;
  /** What the SDK throws for an error of the API. */
  ApiError: typeof openaiSdk.APIError | typeof anthropicSdk.APIError;
}

const STREAMS: readonly Streams[] = [
  {
    title: "a chat",
    open: ({ openai }, signal) => openai.chat.completions.create({ ...chat, stream: true }, signalOf(signal)),
    ApiError: openaiSdk.APIError,
  },
  {
    title: "a completion",
    open: ({ openai }, signal) =>
      openai.completions.create({ model: MODEL, prompt: "hi", stream: true }, signalOf(signal)),
    ApiError: openaiSdk.APIError,
  },
  {
    title: "a response",
    open: ({ openai }, signal) =>
      openai.responses.create({ model: MODEL, input: "hi", stream: true }, signalOf(signal)),
    ApiError: openaiSdk.APIError,
  },
  {
    title: "a message",
    open: ({ anthropic }, signal) =>
      anthropic.messages.create({ ...message, stream: true }, signalOf(signal)),
    ApiError: anthropicSdk.APIError,
  },
];

function signalOf(signal: AbortSignal | undefined): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

/** Reads up to the first event, and gives the rest as a promise for the last. */
async function readFirst(stream: AsyncIterable<unknown>): Promise<{ rest: Promise<void> }> {
  const iterator = stream[Symbol.asyncIterator]();
  expect((await iterator.next()).done).toBe(false);
  async function drain(): Promise<void> {
    while ((await iterator.next()).done !== true);
  }
  return { rest: drain() };
}

describe("The SDKs map", () => {
  test("a model that nobody offers to their NotFoundError, which names what is offered", async () => {
    await using backend = startTestBackend();
    await using relayed = await startRelayed({ backendUrl: backend.url });
    const offered = expect.stringContaining(
      'Model "absent" is not offered: offered are "demo-echo"',
    ) as string;

    const fromOpenAi = await rejection(relayed.openai.chat.completions.create({ ...chat, model: "absent" }));
    expect(fromOpenAi).toBeInstanceOf(openaiSdk.NotFoundError);
    expect(fromOpenAi).toMatchObject({
      status: 404,
      code: "model_not_found",
      type: "invalid_request_error",
      message: offered,
      requestID: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    });

    const fromAnthropic = await rejection(relayed.anthropic.messages.create({ ...message, model: "absent" }));
    expect(fromAnthropic).toBeInstanceOf(anthropicSdk.NotFoundError);
    expect(fromAnthropic).toMatchObject({
      status: 404,
      error: { type: "error", error: { type: "not_found_error", message: offered } },
      requestID: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    });
  });

  test("a model that cannot be retrieved to their NotFoundError, whatever its name", async () => {
    await using backend = startTestBackend();
    await using relayed = await startRelayed({ backendUrl: backend.url });
    expect(await rejection(relayed.openai.models.retrieve("absent"))).toBeInstanceOf(openaiSdk.NotFoundError);
    expect(await rejection(relayed.anthropic.models.retrieve("absent"))).toBeInstanceOf(
      anthropicSdk.NotFoundError,
    );
    expect((await fetch(`${relayed.url}/v1/models/%ff`)).status).toBe(404);
  });

  test("what the backend refuses to the error that the backend itself would have caused", async () => {
    await using backend = startTestBackend();
    await using relayed = await startRelayed({ backendUrl: backend.url });
    const bad = { ...chat, messages: [] };
    const fromOpenAi = await rejection(relayed.openai.chat.completions.create(bad));
    const direct = await rejection(backend.openai.chat.completions.create(bad));
    expect(fromOpenAi).toBeInstanceOf(openaiSdk.BadRequestError);
    const {
      status,
      message: text,
      code,
      param,
      type,
    } = direct as InstanceType<typeof openaiSdk.BadRequestError>;
    expect(fromOpenAi).toMatchObject({ status, message: text, code, param, type });
    expect(param).toBe("messages");

    const fromAnthropic = await rejection(relayed.anthropic.messages.create({ ...message, messages: [] }));
    expect(fromAnthropic).toBeInstanceOf(anthropicSdk.BadRequestError);
    expect(fromAnthropic).toMatchObject({ error: { error: { type: "invalid_request_error" } } });
  });

  test("a request without a model to their BadRequestError", async () => {
    await using backend = startTestBackend();
    await using relayed = await startRelayed({ backendUrl: backend.url });
    const fromOpenAi = await rejection(relayed.openai.chat.completions.create({ ...chat, model: "" }));
    expect(fromOpenAi).toBeInstanceOf(openaiSdk.BadRequestError);
    expect(fromOpenAi).toMatchObject({ code: "invalid_request" });
    const fromAnthropic = await rejection(relayed.anthropic.messages.create({ ...message, model: "" }));
    expect(fromAnthropic).toBeInstanceOf(anthropicSdk.BadRequestError);
  });

  test("a model without a worker to their InternalServerError, and retry it as the relay asks", async () => {
    await using backend = startTestBackend();
    await using relayed = await startRelayed({ backendUrl: backend.url, serve: ["--queue-timeout=100ms"] });
    relayed.worker.kill("SIGTERM");
    expect(await relayed.worker.exited).toBe(0);

    const fromOpenAi = await rejection(relayed.openai.chat.completions.create(chat));
    expect(fromOpenAi).toBeInstanceOf(openaiSdk.InternalServerError);
    expect(fromOpenAi).toMatchObject({ status: 503, code: "queue_timeout", type: "server_error" });
    const fromAnthropic = await rejection(relayed.anthropic.messages.create(message));
    expect(fromAnthropic).toBeInstanceOf(anthropicSdk.InternalServerError);
    expect(fromAnthropic).toMatchObject({ status: 503, error: { error: { type: "overloaded_error" } } });

    // The relay asks for 5 s, and both SDKs keep to it; neither's own pauses are that long.
    const seen: { status: number; retryAfter: string | null; at: number }[] = [];
    const refused = Promise.withResolvers<void>();
    const fetchAndNote = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
      const response = await fetch(input, init);
      const retryAfter = response.headers.get("retry-after");
      seen.push({ status: response.status, retryAfter, at: performance.now() });
      if (seen.length === 2) refused.resolve();
      return response;
    };
    const patient = { maxRetries: 1, fetch: fetchAndNote };
    const answers = Promise.all([
      relayed.openai.withOptions(patient).chat.completions.create(chat),
      relayed.anthropic.withOptions(patient).messages.create(message),
    ]);
    await refused.promise;
    await relayed.startWorker();
    const [answer, said] = await answers;
    expect([answer.choices[0]?.finish_reason, said.stop_reason]).toEqual(["stop", "end_turn"]);
    expect(seen.map(({ status, retryAfter }) => [status, retryAfter])).toEqual([
      [503, "5"],
      [503, "5"],
      [200, null],
      [200, null],
    ]);
    expect((seen[2]?.at ?? 0) - (seen[1]?.at ?? 0)).toBeGreaterThan(4_500);
  }, 20_000);

  for (const { title, open, ApiError } of STREAMS) {
    test(`the loss of the worker in the middle of ${title} to an APIError`, async () => {
      await using backend = startTestBackend(SLOW);
      // Nobody comes back; waiting for that is another test's.
      await using relayed = await startRelayed({ backendUrl: backend.url, serve: ["--link-grace=0"] });
      const { rest } = await readFirst(await open(relayed));
      relayed.worker.kill("SIGKILL");
      const error = await rejection(rest);
      expect(error).toBeInstanceOf(ApiError);
      expect(String(error)).toContain("The worker was lost in the middle of the answer");
    });

    test(`the end of the backend in the middle of ${title} to an APIError`, async () => {
      await using backend = startTestBackend(SLOW);
      await using relayed = await startRelayed({ backendUrl: backend.url });
      const { rest } = await readFirst(await open(relayed));
      await backend[Symbol.asyncDispose]();
      const error = await rejection(rest);
      expect(error).toBeInstanceOf(ApiError);
      expect(String(error)).toContain("broke off its answer");
    });
  }
});

describe("An abort by the client", () => {
  for (const { title, open } of STREAMS) {
    test(`in the middle of ${title} ends the work at the backend`, async () => {
      await using backend = startTestBackend(SLOW);
      await using relayed = await startRelayed({ backendUrl: backend.url });
      const abort = new AbortController();
      const { rest } = await readFirst(await open(relayed, abort.signal));
      abort.abort();
      await rest;
      expect((await backend.streamEnd()).outcome).toBe("cancelled");
      const health = (await (await fetch(`${relayed.url}/health`)).json()) as Record<string, unknown>;
      expect(health).toMatchObject({ requests_in_flight: 0, queue_depth: 0, workers: [{ in_flight: 0 }] });
    });
  }

  test("before the answer begins ends the wait in the queue", async () => {
    await using backend = startTestBackend(SLOW);
    await using relayed = await startRelayed({ backendUrl: backend.url });
    const first = await relayed.openai.chat.completions.create({ ...chat, stream: true });
    await readFirst(first);
    const abort = new AbortController();
    const waiting = relayed.openai.chat.completions.create(chat, { signal: abort.signal });
    const rejected = rejection(waiting);
    await untilHealth(relayed.url, ({ queue_depth: depth }) => depth === 1);
    abort.abort();
    expect(await rejected).toBeInstanceOf(openaiSdk.APIUserAbortError);
    await untilHealth(relayed.url, ({ queue_depth: depth }) => depth === 0);
    first.controller.abort();
    expect(await backend.streamEnd()).toMatchObject({ outcome: "cancelled" });
  });
});

interface Health {
  queue_depth: number;
}

/** Asks again and again: the relay tells nobody that a request has joined or left its queue. */
async function untilHealth(url: string, holds: (health: Health) => boolean): Promise<void> {
  while (!holds((await (await fetch(`${url}/health`)).json()) as Health));
}
