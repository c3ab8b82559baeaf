import { describe, expect, test } from "bun:test";
import { FRAME } from "../../src/protocol/frames.ts";
import {
  CLOSE,
  V2_MAX_BODY,
  V2_MAX_CREDIT,
  V2_MAX_WINDOW,
  V2_MIN_WINDOW,
  V2_UNACKED_LIMIT,
  V2_UNACKED_PAUSE,
  V2_WINDOW,
} from "../../src/protocol/limits.ts";
import { windowField } from "../../src/protocol/v2.ts";
import { errorOf, RelayEnd, WINDOW, WorkerEnd } from "../fuzz/ends.ts";
import {
  ackFrame,
  creditFrame,
  frameOf,
  headFrame,
  joined,
  jsonFrame,
  REGISTER,
  requestFrame,
  type Taken,
} from "../fuzz/wire.ts";
import { frameBytes } from "./v2-exchange.ts";
import { V2Pair } from "./v2-pair.ts";

const CLIENTS = 200;
/** What a backend gives at once, and in all. */
const PART = 16 * 1024;
const WHOLE = 8 * PART;
const SMALL_WINDOW = 2 * PART;

/** Backends that give as long as there is room, for clients some of which do not read. */
class Load {
  readonly pair: V2Pair;
  readonly ids = Array.from({ length: CLIENTS }, (_, index) => `r${index}`);
  /** Bytes that were read from each backend. */
  readonly given = new Map<string, number>();

  constructor(reading: (id: string) => boolean, window: number) {
    this.pair = new V2Pair({ reading, window });
    for (const id of this.ids) this.pair.ask(id);
    this.pair.deliver();
    for (const id of this.ids) this.writer(id).head({ status: 200, headers: {} });
  }

  writer(id: string) {
    return this.pair.writers.get(id)!;
  }

  arrived(id: string): number {
    return this.pair.answers.get(id)!.body.reduce((sum, part) => sum + part.length, 0);
  }

  /** Goes on until nothing moves. */
  run(): void {
    let moved: boolean;
    do {
      moved = false;
      for (const id of this.ids) {
        const given = this.given.get(id) ?? 0;
        if (given === WHOLE || this.writer(id).room() !== undefined) continue;
        this.writer(id).body(new Uint8Array(PART));
        this.given.set(id, given + PART);
        if (given + PART === WHOLE) this.writer(id).end();
        moved = true;
      }
      this.pair.deliver();
    } while (moved);
    expect(this.pair.errors).toEqual([]);
  }

  held(ids: readonly string[]): { atRelay: number; atWorker: number } {
    let [atRelay, atWorker] = [0, 0];
    for (const id of ids) {
      atRelay += this.arrived(id);
      atWorker += (this.given.get(id) ?? 0) - this.arrived(id);
    }
    return { atRelay, atWorker };
  }
}

function bodyBytes(frames: readonly Taken[]): Map<number, number> {
  const bytes = new Map<number, number>();
  for (const { type, request, payload } of frames)
    if (type === FRAME.body) bytes.set(request, (bytes.get(request) ?? 0) + payload.length);
  return bytes;
}

function sumOf(bytes: Map<number, number>): number {
  return [...bytes.values()].reduce((sum, one) => sum + one, 0);
}

describe("Flow control of answers", () => {
  test(`lets one stalled client among ${CLIENTS} cost its window, and the others nothing`, () => {
    const load = new Load((id) => id !== "r7", SMALL_WINDOW);
    load.run();
    const { r7, ...others } = Object.fromEntries(load.pair.answers);
    expect(Object.values(others).every(({ ending }) => ending === "ended")).toBe(true);
    expect(load.ids.filter((id) => id !== "r7" && load.arrived(id) !== WHOLE)).toEqual([]);
    expect(r7?.ending).toBe("open");
    expect(load.held(["r7"])).toEqual({ atRelay: SMALL_WINDOW, atWorker: 0 });
  });

  test(`lets ${CLIENTS} stalled clients cost ${CLIENTS} windows, and all end when they read`, () => {
    const stalled = new Load(() => false, SMALL_WINDOW);
    stalled.run();
    expect(stalled.held(stalled.ids)).toEqual({ atRelay: CLIENTS * SMALL_WINDOW, atWorker: 0 });
    for (let round = 0; round < WHOLE / SMALL_WINDOW; round++) {
      for (const id of stalled.ids) stalled.pair.relay.consumed(id, SMALL_WINDOW);
      stalled.run();
    }
    expect(stalled.ids.filter((id) => stalled.pair.answers.get(id)?.ending !== "ended")).toEqual([]);
  });

  test("holds what is beyond the window back at the worker, up to one part, where parts do not fit it", () => {
    const load = new Load(() => false, 3 * (PART / 2));
    load.run();
    expect(load.held(load.ids)).toEqual({ atRelay: CLIENTS * 1.5 * PART, atWorker: CLIENTS * 0.5 * PART });
  });

  test("reads no backend further than the limit of what waits for acknowledgement, connected or not", () => {
    for (const suspended of [false, true]) {
      const worker = new WorkerEnd();
      let given = 0;
      for (let number = 1; number <= 4; number++) open(worker, number);
      if (suspended) worker.codec.continuation!.suspend();
      for (let moved = true; moved;) {
        moved = false;
        for (const writer of worker.writers.values()) {
          if (writer.room() !== undefined) continue;
          writer.body(new Uint8Array(V2_MAX_BODY));
          given += V2_MAX_BODY;
          moved = true;
        }
        worker.frames();
      }
      expect(given).toBeGreaterThan(V2_UNACKED_PAUSE - 5 * V2_MAX_BODY);
      expect(given).toBeLessThan(V2_UNACKED_PAUSE + 5 * V2_MAX_BODY);
      expect(worker.overflow).toBeUndefined();
    }
  });

  test("lets a worker send what was granted, and ends its link for one byte more", () => {
    const relay = new RelayEnd();
    relay.ask("r1");
    relay.frames();
    relay.codec.receive(headFrame(1));
    relay.codec.receive(frameOf(FRAME.body, 1, new Uint8Array(WINDOW)));
    relay.codec.consumed("r1", WINDOW / 2 - 1);
    expect(relay.frames()).toEqual([]);
    relay.codec.consumed("r1", 11);
    const granted = WINDOW / 2 + 10;
    expect(joined(relay.frames().map(frameBytes))).toEqual(creditFrame(1, granted));
    relay.codec.receive(frameOf(FRAME.body, 1, new Uint8Array(granted)));
    const error = errorOf(relay.codec, frameOf(FRAME.body, 1, new Uint8Array(1)));
    expect(error?.closeCode).toBe(CLOSE.flow);
  });

  test("sends no more of one long part than may wait for acknowledgement, and then the rest", () => {
    const worker = new WorkerEnd();
    open(worker, 1);
    const part = 3 * V2_UNACKED_PAUSE;
    worker.writers.get("r1")!.body(new Uint8Array(part));
    const first = worker.frames();
    expect(sumOf(bodyBytes(first))).toBeLessThanOrEqual(V2_UNACKED_PAUSE + V2_MAX_BODY);
    let [frames, sent] = [1 + first.length, sumOf(bodyBytes(first))];
    for (let round = 0; round < 3; round++) {
      worker.codec.receive(ackFrame(frames));
      const more = worker.frames();
      frames += more.length;
      sent += sumOf(bodyBytes(more));
    }
    expect(sent).toBe(part);
  });

  test("goes on with a backend when what it gave is acknowledged", async () => {
    const worker = new WorkerEnd();
    open(worker, 1);
    const writer = worker.writers.get("r1")!;
    while (writer.room() === undefined) {
      writer.body(new Uint8Array(V2_MAX_BODY));
      worker.frames();
    }
    const room = writer.room();
    const frames = 2 + Math.ceil(V2_UNACKED_PAUSE / V2_MAX_BODY);
    worker.codec.receive(ackFrame(frames - 1));
    await room;
    expect(writer.room()).toBeUndefined();
  });
});

/** With a worker that announces this window. */
function relayTo(window: number): RelayEnd {
  const relay = new RelayEnd(false);
  const register = JSON.parse(Buffer.from(REGISTER.slice(8)).toString()) as object;
  relay.codec.receive(jsonFrame(FRAME.control, 0, { ...register, window }));
  relay.frames();
  return relay;
}

/** A request with all the credit that there is. */
function open(worker: WorkerEnd, number: number): void {
  worker.codec.receive(requestFrame(number, 0));
  worker.codec.receive(creditFrame(number, 0xf000_0000));
  worker.writers.get(`r${number}`)!.head({ status: 200, headers: {} });
}

describe("Flow control of uploads", () => {
  test(`sends ${CLIENTS} uploads as far as their windows to a worker that takes nothing`, () => {
    const relay = new RelayEnd();
    for (let index = 1; index <= CLIENTS; index++) relay.ask(`r${index}`, 4 * WINDOW);
    const sent = bodyBytes(relay.frames());
    expect(sent.size).toBe(CLIENTS);
    expect([...new Set(sent.values())]).toEqual([WINDOW]);
  });

  test("goes on with the upload for which there is credit, and with no other", () => {
    const relay = new RelayEnd();
    for (let index = 1; index <= CLIENTS; index++) relay.ask(`r${index}`, 4 * WINDOW);
    relay.frames();
    relay.codec.receive(creditFrame(7, 1_000));
    expect(bodyBytes(relay.frames())).toEqual(new Map([[7, 1_000]]));
    relay.codec.receive(creditFrame(7, 4 * WINDOW));
    const frames = relay.frames();
    expect(bodyBytes(frames)).toEqual(new Map([[7, 3 * WINDOW - 1_000]]));
    expect(frames.at(-1)).toMatchObject({ type: FRAME.end, request: 7 });
  });

  test("lets a relay send what was granted, and ends its link for one byte more", () => {
    const worker = new WorkerEnd();
    worker.codec.receive(requestFrame(1, 10 * WINDOW));
    worker.codec.receive(frameOf(FRAME.body, 1, new Uint8Array(WINDOW / 2 - 1)));
    expect(worker.frames()).toEqual([]);
    worker.codec.receive(frameOf(FRAME.body, 1, new Uint8Array(11)));
    const granted = WINDOW / 2 + 10;
    expect(joined(worker.frames().map(frameBytes))).toEqual(creditFrame(1, granted));
    // What came is granted anew, so that a whole window is.
    const error = errorOf(worker.codec, frameOf(FRAME.body, 1, new Uint8Array(WINDOW + 1)));
    expect(error?.closeCode).toBe(CLOSE.flow);
  });

  test("keeps no more of them for replay than the limit, and goes on when they are acknowledged", () => {
    const relay = relayTo(V2_WINDOW);
    for (let index = 1; index <= CLIENTS; index++) relay.ask(`r${index}`, V2_WINDOW);
    const frames = relay.frames();
    const first = sumOf(bodyBytes(frames));
    expect(first).toBeGreaterThan(V2_UNACKED_PAUSE - V2_MAX_BODY);
    expect(first).toBeLessThan(V2_UNACKED_PAUSE + V2_MAX_BODY);
    relay.codec.receive(ackFrame(1 + frames.length));
    const second = sumOf(bodyBytes(relay.frames()));
    expect(second).toBeGreaterThan(V2_UNACKED_PAUSE - V2_MAX_BODY);
    expect(second).toBeLessThan(V2_UNACKED_PAUSE + V2_MAX_BODY);
  });

  test("goes on with them at once after a resumption that acknowledges them", () => {
    const relay = relayTo(V2_WINDOW);
    for (let index = 1; index <= CLIENTS; index++) relay.ask(`r${index}`, V2_WINDOW);
    const count = 1 + relay.frames().length;
    relay.codec.resumption!.suspend();
    relay.codec.resumption!.resume({ send: (message) => void relay.sent.push(message as never) }, count);
    expect(sumOf(bodyBytes(relay.frames()))).toBeGreaterThan(V2_UNACKED_PAUSE - V2_MAX_BODY);
  });

  test("gives a worker the credit that it takes, so that an upload of any length arrives", () => {
    const pair = new V2Pair({ window: SMALL_WINDOW });
    pair.ask("r1", new Uint8Array(10 * SMALL_WINDOW + 3));
    pair.deliver();
    expect(pair.requests[0]?.body.length).toBe(10 * SMALL_WINDOW + 3);
  });
});

describe("A window", () => {
  for (const [given, taken] of [
    [0, V2_MIN_WINDOW],
    [V2_MIN_WINDOW - 1, V2_MIN_WINDOW],
    [V2_MIN_WINDOW + 1, V2_MIN_WINDOW + 1],
    [V2_MAX_WINDOW, V2_MAX_WINDOW],
    [V2_MAX_WINDOW + 1, V2_MAX_WINDOW],
    [undefined, V2_WINDOW],
  ] as const) {
    test(`of ${given ?? "no"} bytes is taken as one of ${taken}`, () => {
      expect(windowField({ window: given }, V2_WINDOW)).toBe(taken);
    });
  }

  test("of a worker holds back what the relay sends first", () => {
    const relay = relayTo(1);
    relay.ask("r1", 100_000);
    expect(sumOf(bodyBytes(relay.frames()))).toBe(V2_MIN_WINDOW);
  });

  test("may be granted up to the largest credit, and no byte beyond", () => {
    const relay = new RelayEnd();
    relay.ask("r1");
    expect(errorOf(relay.codec, creditFrame(1, V2_MAX_CREDIT - WINDOW))).toBeUndefined();
    expect(errorOf(relay.codec, creditFrame(1, 1))?.closeCode).toBe(CLOSE.flow);
  });
});

describe("A peer that never acknowledges", () => {
  test("is ended with 4004 as a worker, when requests alone have filled what may be kept", () => {
    const relay = new RelayEnd();
    let sent = 0;
    for (let index = 1; relay.overflow === undefined && index < 1_000_000; index++) {
      relay.ask(`r${index}-${"x".repeat(500)}`);
      for (const { payload } of relay.frames()) sent += payload.length;
    }
    expect(relay.overflow?.closeCode).toBe(CLOSE.flow);
    expect(sent).toBeLessThan(V2_UNACKED_LIMIT);
  });

  test("is ended with 4004 as a relay, when answers without a body have filled what may be kept", () => {
    const worker = new WorkerEnd();
    for (let number = 1; worker.overflow === undefined && number < 1_000_000; number++) {
      worker.codec.receive(requestFrame(number, 0));
      worker.writers.get(`r${number}`)!.fail(502, "x".repeat(900));
      worker.writers.clear();
      worker.requests.length = 0;
      worker.heard.length = 0;
      worker.frames();
    }
    expect(worker.overflow?.closeCode).toBe(CLOSE.flow);
  });
});
