import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import type { Clock } from "../../src/base/clock.ts";
import { systemClock } from "../../src/base/clock.ts";
import type { StreamEnd } from "../../src/demo/paced-stream.ts";
import { startDemoBackend, type DemoBackendOptions } from "../../src/demo/server.ts";

/** A running backend with both official SDKs pointed at it; stops at the end of the scope. */
export interface TestBackend extends AsyncDisposable {
  url: string;
  openai: OpenAI;
  anthropic: Anthropic;
  /** The next stream that ends. */
  streamEnd(): Promise<StreamEnd>;
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
}

/** Time that stands still at 2026-03-01T00:00:00Z for whoever reads it; delays are real. */
export const fixedClock: Clock = { ...systemClock, now: () => 0, wall: () => 1_772_323_200_000 };

export function startTestBackend(options: DemoBackendOptions = {}): TestBackend {
  const ended: StreamEnd[] = [];
  const waiting: ((end: StreamEnd) => void)[] = [];
  const backend = startDemoBackend({
    tokenDelayMs: 0,
    ...options,
    onStreamEnd(end) {
      const next = waiting.shift();
      if (next === undefined) ended.push(end);
      else next(end);
    },
  });
  return {
    url: backend.url,
    openai: new OpenAI({ baseURL: `${backend.url}/v1`, apiKey: "none", maxRetries: 0 }),
    anthropic: new Anthropic({ baseURL: backend.url, apiKey: "none", maxRetries: 0 }),
    streamEnd() {
      const end = ended.shift();
      return end === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(end);
    },
    post: (path, body, headers = {}) =>
      fetch(`${backend.url}${path}`, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    [Symbol.asyncDispose]: () => backend.stop(),
  };
}

/** What a promise, or the SDKs' likeness of one, is rejected with; fails if it is fulfilled. */
export async function rejection(outcome: PromiseLike<unknown>): Promise<unknown> {
  let value: unknown;
  try {
    value = await outcome;
  } catch (error) {
    return error;
  }
  throw new Error(`Expected a rejection, got ${JSON.stringify(value)}`);
}

/** A tool that both dialects take the schema of. */
export const WEATHER = {
  name: "get_weather",
  description: "The weather at a place",
  parameters: {
    type: "object" as const,
    properties: {
      city: { type: "string" },
      unit: { type: "string", enum: ["celsius", "fahrenheit"] },
      days: { type: "integer", minimum: 2, maximum: 7 },
      note: { type: "string" },
    },
    required: ["city", "unit", "days"],
  },
};

export const WEATHER_INPUT = { city: "Paris", unit: "celsius", days: 2 };
