import { describe, expect, test } from "bun:test";
import { silentLog } from "../../../src/base/log.ts";
import { createRelayApp, type RelayApp } from "../../../src/server/index.ts";
import type { Heritage } from "../../../src/server/heritage.ts";
import type { SocketSession } from "../../../src/server/listener.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { RawWorker, type Message } from "../../support/raw-worker.ts";
import { relayConfig, SECRET, type RelaySettings } from "../../support/relays.ts";

const MODEL = "m";
const HOUR_MS = 3_600_000;

/** A relay without a port, and workers that say what a test tells them to. */
class House {
  readonly clock = new ManualClock();
  readonly app: RelayApp;

  constructor(settings: RelaySettings = {}, heritage?: Heritage) {
    const config = relayConfig(settings);
    this.app = createRelayApp(config, { clock: this.clock, log: silentLog, heritage });
  }

  /** @param features none for a worker of the field */
  async worker(features: string[], capacity = 1): Promise<RawWorker> {
    const worker = this.connect();
    await worker.register([MODEL], { max_concurrent: capacity, features });
    return worker;
  }

  connect(): RawWorker {
    const worker = new RawWorker();
    const socket = {
      send: (message: string | Uint8Array<ArrayBuffer>) => (worker.received(message), true),
      buffered: () => 0,
      close: (code: number, reason: string) => worker.ended({ code, reason }),
      terminate: () => worker.ended({ code: 1006, reason: "" }),
    };
    const ticket = { provider: "local", address: "127.0.0.1", version: "v1", credential: SECRET } as const;
    const session: SocketSession = this.app.worker(ticket, socket);
    worker.attach({
      send: (message) => session.receive(typeof message === "string" ? message : Buffer.from(message)),
      close: (code = 1006) => {
        session.closed(code);
        worker.ended({ code, reason: "" });
      },
      cut: () => session.closed(1006),
    });
    return worker;
  }

  async ask(model = MODEL): Promise<{ status: number; text: string; retryAfter: string | null }> {
    const connection = { address: "127.0.0.1", allowSilence() {}, limitSilence() {}, upgrade: () => false };
    const body = JSON.stringify({ model, messages: [] });
    const headers = { "content-type": "application/json" };
    const request = new Request("http://relay.test/v1/chat/completions", { method: "POST", body, headers });
    const response = await this.app.request(request, connection);
    if (response === undefined) throw new Error("The request became a WebSocket");
    return {
      status: response.status,
      text: await response.text(),
      retryAfter: response.headers.get("retry-after"),
    };
  }

  /** Asks, and resolves once the request waits or is on its way to a worker. */
  async asking(): Promise<{ answer: ReturnType<House["ask"]> }> {
    const { core } = this.app.relay;
    const before = core.requestCount;
    const answer = this.ask();
    for (let turn = 0; core.requestCount === before; turn++) {
      if (turn > 1_000) throw new Error(`It was not taken in: ${JSON.stringify(await answer)}`);
      await Promise.resolve();
    }
    return { answer };
  }

  async models(): Promise<string[]> {
    const connection = { address: "127.0.0.1", allowSilence() {}, limitSilence() {}, upgrade: () => false };
    const response = await this.app.request(new Request("http://relay.test/v1/models"), connection);
    const list = (await response?.json()) as { data: { id: string }[] } | undefined;
    return list?.data.map(({ id }) => id) ?? [];
  }
}

const drains = (worker: RawWorker): Message[] =>
  worker.inbox.items.filter(({ type }) => type === "graceful_shutdown");

const MOVED = { status: 503, retryAfter: "1" };

describe("A relay that leaves its place", () => {
  test("sends workers over that can keep two links, and gives them what it has until the end", async () => {
    const house = new House();
    const worker = await house.worker(["method", "head", "move"]);
    const departure = house.app.depart(HOUR_MS);
    expect(await worker.next("graceful_shutdown")).toMatchObject({
      reason: "handover",
      drain_timeout_secs: 3_600,
    });
    for (const turn of [1, 2]) {
      const { answer } = await house.asking();
      departure.look();
      worker.complete(await worker.next("request"), 200, `{"turn":${turn}}`);
      expect(await answer).toMatchObject({ status: 200, text: `{"turn":${turn}}` });
    }
    expect(drains(worker)).toEqual([]);
  });

  test("keeps workers of the field until what waits is served, and what they run has ended", async () => {
    const house = new House();
    const worker = await house.worker([]);
    const running = await house.asking();
    const waiting = await house.asking();
    expect(house.app.relay.core.queueLength).toBe(1);
    const departure = house.app.depart(HOUR_MS);
    departure.look();
    expect(drains(worker)).toEqual([]);
    worker.complete(await worker.next("request"), 200, '{"n":1}');
    expect(await running.answer).toMatchObject({ status: 200, text: '{"n":1}' });
    departure.look();
    // It holds one still; nothing waits any more, so that it is given no other.
    expect(drains(worker)).toEqual([]);
    expect(await house.ask()).toMatchObject(MOVED);
    worker.complete(await worker.next("request"), 200, '{"n":2}');
    expect(await waiting.answer).toMatchObject({ status: 200, text: '{"n":2}' });
    departure.look();
    departure.look();
    expect(drains(worker)).toMatchObject([{ reason: "server_shutdown", drain_timeout_secs: 3_600 }]);
  });

  test("lets go at once of workers of the field that have nothing to do", async () => {
    const house = new House();
    const worker = await house.worker([]);
    house.app.depart(HOUR_MS);
    expect(drains(worker)).toHaveLength(1);
  });

  test("has clients ask again whom nobody is left to serve, at once instead of when their time is over", async () => {
    const house = new House();
    const worker = await house.worker(["move"]);
    const running = await house.asking();
    const waiting = await house.asking();
    house.app.depart(HOUR_MS);
    worker.cut();
    expect(await waiting.answer).toMatchObject(MOVED);
    // What the worker held goes back to the queue, where nobody is left either.
    expect(await running.answer).toMatchObject(MOVED);
    expect(await house.ask()).toMatchObject(MOVED);
    expect((await house.ask("unheard-of")).status).toBe(404);
  });

  test("lets a request wait for a worker that is busy", async () => {
    const house = new House();
    const worker = await house.worker(["move"]);
    const departing = await house.asking();
    house.app.depart(HOUR_MS);
    const late = await house.asking();
    worker.complete(await worker.next("request"), 200, '{"n":1}');
    worker.complete(await worker.next("request"), 200, '{"n":2}');
    expect([(await departing.answer).text, (await late.answer).text]).toEqual(['{"n":1}', '{"n":2}']);
  });

  test("takes no worker in any more", async () => {
    const house = new House();
    house.app.depart(HOUR_MS);
    const worker = house.connect();
    worker.say({ type: "register", worker_name: "raw", models: [MODEL], max_concurrent: 1 });
    expect(await worker.closed).toEqual({
      code: 1012,
      reason: "Another process has taken the relay's place",
    });
    expect(house.app.relay.core.registry.size).toBe(0);
  });
});

describe("A relay that takes a place", () => {
  const heritage = (): Heritage => ({ ports: {}, models: [MODEL], released: new Promise(() => {}) });

  test("lists the models whose workers are on their way, and has their requests wait", async () => {
    const house = new House({}, heritage());
    expect(await house.models()).toEqual([MODEL]);
    const { answer } = await house.asking();
    const worker = await house.worker(["move"]);
    worker.complete(await worker.next("request"), 200, '{"n":1}');
    expect(await answer).toMatchObject({ status: 200, text: '{"n":1}' });
    expect((await house.ask("unheard-of")).status).toBe(404);
    expect(await house.models()).toEqual([MODEL]);
  });

  test("counts nobody out for a full queue meanwhile", async () => {
    const house = new House({ maxQueueLen: 1 }, heritage());
    const answers = [await house.asking(), await house.asking(), await house.asking()];
    const worker = await house.worker(["move"], 3);
    for (const _ of answers) worker.complete(await worker.next("request"), 200, "{}");
    expect(await Promise.all(answers.map(async ({ answer }) => (await answer).status))).toEqual([
      200, 200, 200,
    ]);
  });

  test("expects workers for a while alone", async () => {
    const house = new House({ maxQueueLen: 1 }, heritage());
    house.clock.advance(15_000);
    expect(await house.models()).toEqual([]);
    void house.asking();
    expect(await house.ask()).toMatchObject({ status: 503 });
  });

  test("does not list a model whose worker came and has left", async () => {
    const house = new House({}, heritage());
    const worker = await house.worker(["move"]);
    worker.cut();
    expect(await house.models()).toEqual([]);
  });
});
