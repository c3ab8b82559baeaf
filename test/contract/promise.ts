import { expect } from "bun:test";
import type { LinkVersion, RawWorker } from "../support/raw-worker.ts";
import { RawWorkerV2 } from "../support/raw-worker-v2.ts";
import type { RelayKind, TestRelay } from "../support/relays.ts";

/** One thing that every relay does, in whatever way it runs. */
export interface ContractPromise {
  title: string;
  /** The version of the link that it is about, if it is about one alone. */
  link?: LinkVersion;
  keep(kind: RelayKind): Promise<void>;
}

export const CHAT = "/v1/chat/completions";

/** A stream whose client asks for the usage itself: the relay adds nothing, and holds not even half an event back. */
export const PLAIN_STREAM = { stream: true, stream_options: { include_usage: true } };

/** A chat request as a client sends it. */
export function chat(
  relay: TestRelay,
  more: Record<string, unknown> = {},
  init: RequestInit = {},
): Promise<Response> {
  return relay.fetch(CHAT, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "m", messages: [{ role: "user", content: "hi" }], ...more }),
    ...init,
  });
}

/** Asserts an error in OpenAI's shape. */
export async function expectError(
  response: Response,
  status: number,
  code: string,
): Promise<{ message: string }> {
  const body = (await response.json()) as {
    error: { message: string; type: string; code: string; param: null };
  };
  expect({ status: response.status, code: body.error?.code }).toEqual({ status, code });
  expect(body).toEqual({
    error: { message: expect.any(String), type: expect.any(String), param: null, code },
  });
  expect(response.headers.get("x-request-id")).toBeTruthy();
  expect(response.headers.get("x-modelrelay-error")).toMatch(/^(relay|worker|backend)$/);
  return body.error;
}

/** A worker that offers "m", registered. */
export async function readyWorker(
  relay: TestRelay,
  more: Record<string, unknown> = {},
  models = ["m"],
): Promise<RawWorker> {
  const worker = await relay.worker();
  await worker.register(models, more);
  return worker;
}

/** A connection of version 2, on which nothing has been said. */
export async function v2Connection(relay: TestRelay, secret?: string): Promise<RawWorkerV2> {
  const worker = await relay.worker("", secret);
  if (worker instanceof RawWorkerV2) return worker;
  throw new Error("This promise is about version 2");
}

/** A worker of version 2 that offers "m", registered. */
export async function v2Worker(
  relay: TestRelay,
  more: Record<string, unknown> = {},
  models = ["m"],
): Promise<RawWorkerV2> {
  const worker = await v2Connection(relay);
  await worker.register(models, more);
  return worker;
}

/** In process nothing ever leaves the turn, so that the runner's own limit could not end a wait. */
const HEALTH_LIMIT_MS = 10_000;

/**
 * Waits until the relay's own status says so; every look is one request, and each waits for the last.
 *
 * @throws {Error} with what it says instead, after 10 s
 */
export async function healthShows<T extends Record<string, unknown>>(
  relay: TestRelay,
  when: (health: T) => boolean,
): Promise<T> {
  const deadline = performance.now() + HEALTH_LIMIT_MS;
  for (;;) {
    const health = (await (await relay.fetch("/health")).json()) as T;
    if (when(health)) return health;
    if (performance.now() > deadline) throw new Error(`The relay still says ${JSON.stringify(health)}`);
    await new Promise(setImmediate);
  }
}
