import type { ProxiedConnection } from "../support/cutting-proxy.ts";
import { errorAtEnd, eventsOf, textOf } from "./content.ts";
import type { Cell, State } from "./matrix-table.ts";
import { STATES } from "./matrix-table.ts";
import { RawClient } from "./raw-client.ts";

/** One request at the backend, and the means to answer it. */
export interface Run {
  json(): unknown;
  head(status: number, headers?: Record<string, string>): void;
  write(data: string): void;
  end(): void;
  /** Resolves when its connection is gone. */
  readonly closed: Promise<void>;
}

/** What requests are brought on their way through. */
export interface Ground {
  /** Where clients connect. */
  port: number;
  backend: { next(): Promise<Run> };
  /** The link of the one worker, which runs four requests at once. */
  link(): ProxiedConnection;
  health<T extends Record<string, unknown>>(when: (health: T) => boolean): Promise<T>;
}

/** States in which the worker holds the request. */
const HELD = ["sent", "head sent", "streaming", "last chunk"] as const;
/** Requests that the worker runs at once. */
export const CAPACITY = HELD.length;

/** Events of a stream, and how many of them the client has when the fault comes. */
const EVENTS = 24;
const EVENTS_BEFORE = 5;

/** The answer to a request in parts; the last of a stream is `[DONE]`. */
function partsOf(state: State | "after"): string[] {
  const seed = [...STATES, "after"].indexOf(state) + 1;
  return state === "head sent" ? [JSON.stringify({ text: textOf(seed, 400) })] : eventsOf(seed, EVENTS, 40);
}

/** An event stream, but for the one whose head comes alone: of a stream the worker holds it back. */
function headOf(state: State | "after"): Record<string, string> {
  return { "content-type": state === "head sent" ? "application/json" : "text/event-stream" };
}

function answerWhole(state: State | "after", run: Run): void {
  run.head(200, headOf(state));
  for (const part of partsOf(state)) run.write(part);
  run.end();
}

/** Requests in every state at once, with the backend's part played from here. */
export class Stage {
  readonly #ground: Ground;
  readonly #clients = new Map<State | "after", RawClient>();
  readonly #runs = new Map<State | "after", Run[]>();
  readonly #first = new Map(STATES.map((state) => [state, Promise.withResolvers<Run>()]));

  private constructor(ground: Ground) {
    this.#ground = ground;
    void this.#take();
  }

  /** Resolves once there is a request in each state. */
  static async set(ground: Ground): Promise<Stage> {
    const stage = new Stage(ground);
    answerWhole("done", await stage.#begin("done"));
    await stage.#client("done").until(() => stage.#client("done").whole);
    await stage.#begin("sent");
    const streaming = await stage.#begin("streaming");
    streaming.head(200, headOf("streaming"));
    for (const part of partsOf("streaming").slice(0, EVENTS_BEFORE)) streaming.write(part);
    const last = await stage.#begin("last chunk");
    last.head(200, headOf("last chunk"));
    for (const part of partsOf("last chunk")) last.write(part);
    const head = await stage.#begin("head sent");
    await stage.#ask("queued");
    await ground.health((health) => health["queue_depth"] === 1);
    for (const state of ["streaming", "last chunk"] as const) {
      const before = partsOf(state).slice(0, state === "streaming" ? EVENTS_BEFORE : undefined);
      const client = stage.#client(state);
      await client.until(() => client.text === before.join(""));
    }
    // The relay keeps a head until there is a body, so that only the link tells that it has passed.
    const { up } = ground.link();
    const before = up.passed;
    head.head(200, headOf("head sent"));
    await up.until(before + MIN_HEAD_FRAME);
    return stage;
  }

  /** The backend goes on with what it was given, to the end. */
  goOn(): void {
    for (const state of HELD) {
      const [run] = this.#runs.get(state) ?? [];
      if (run === undefined) continue;
      const parts = partsOf(state);
      const rest = { sent: 0, "head sent": 0, streaming: EVENTS_BEFORE, "last chunk": parts.length };
      if (state === "sent") run.head(200, headOf(state));
      for (const part of parts.slice(rest[state])) run.write(part);
      run.end();
    }
  }

  /** What the worker held is taken from the backend. */
  async cancelled(): Promise<void> {
    await Promise.all(HELD.map(async (state) => this.#runs.get(state)?.[0]?.closed));
  }

  /** What became of a request, once its client has all that it will get. */
  async outcome(state: State): Promise<Cell> {
    const client = this.#client(state);
    // It ends too soon if it is not whole, which is one of the outcomes.
    await client.until(() => client.whole).catch(() => {});
    return { ...this.#seen(state, client), runs: this.runs(state) };
  }

  /** Times that the backend was given a request so far. */
  runs(state: State): number {
    return this.#runs.get(state)?.length ?? 0;
  }

  /** Another request is served as ever. */
  async servesOn(): Promise<void> {
    await this.#ask("after");
    const client = this.#client("after");
    const text = (await client.answer()).toString();
    if (text !== partsOf("after").join(""))
      throw new Error(`The answer afterwards is ${client.status} ${text}`);
  }

  #seen(state: State, client: RawClient): Omit<Cell, "runs"> {
    const { status, text, whole } = client;
    const expected = partsOf(state).join("");
    if (status === undefined) return { sees: "no answer" };
    if (!whole) {
      if (!expected.startsWith(text)) throw new Error(`A part of the answer is wrong: ${text}`);
      return { sees: "broken" };
    }
    if (status === 200 && text === expected) return { sees: "whole" };
    if (status !== 200) {
      const { error } = JSON.parse(text) as { error: { code: string } };
      return { sees: "answer", status, code: error.code };
    }
    const { code } = errorAtEnd(text) ?? {};
    const before = text.slice(0, text.lastIndexOf("data: {"));
    if (code === undefined || !expected.startsWith(before)) throw new Error(`The answer is wrong: ${text}`);
    return { sees: "error event", code };
  }

  #client(state: State | "after"): RawClient {
    const client = this.#clients.get(state);
    if (client === undefined) throw new Error(`Nobody has asked for "${state}"`);
    return client;
  }

  async #ask(state: State | "after"): Promise<void> {
    const stream = state !== "head sent";
    this.#clients.set(state, await RawClient.chat(this.#ground.port, { state, stream }));
  }

  async #begin(state: State): Promise<Run> {
    await this.#ask(state);
    return this.#first.get(state)!.promise;
  }

  /** The first run of most requests is played by hand; everything else is answered at once. */
  async #take(): Promise<void> {
    for (;;) {
      const run = await this.#ground.backend.next();
      const { state } = run.json() as { state: State | "after" };
      const runs = this.#runs.get(state) ?? [];
      this.#runs.set(state, runs);
      if (runs.push(run) > 1 || state === "queued" || state === "after") answerWhole(state, run);
      else this.#first.get(state)?.resolve(run);
    }
  }
}

/** Bytes of a head's frame, at the least. */
const MIN_HEAD_FRAME = 60;

/** Nothing is held for anybody any more, and nobody is waited for. */
export async function nothingLeft(ground: Ground, workers: number): Promise<void> {
  type Worker = { in_flight: number; is_suspended: boolean };
  type Health = {
    requests_in_flight: number;
    bytes_held: number;
    queue_depth: number;
    workers: Worker[];
  };
  await ground.health<Health>(
    (health) =>
      health.requests_in_flight === 0 &&
      health.bytes_held === 0 &&
      health.queue_depth === 0 &&
      health.workers.length === workers &&
      health.workers.every(({ in_flight, is_suspended }) => in_flight === 0 && !is_suspended),
  );
}
