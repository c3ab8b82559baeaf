import { describe, expect, test } from "bun:test";
import { MAX_PASSES } from "../../../src/server/core/queue.ts";
import { RelayCore } from "../../../src/server/core/relay-core.ts";
import { chooseWorker } from "../../../src/server/core/scheduler.ts";
import type {
  ArrivingRequest,
  CoreEffect,
  CoreEvent,
  CoreSettings,
  JoiningWorker,
} from "../../../src/server/core/types.ts";
import { canTake, CLASSES, SlowQueue, type SlowTaker } from "./slow-queue.ts";

const SETTINGS: CoreSettings = {
  provider: "local",
  maxQueueLength: 10_000,
  queueTimeoutMs: 30_000,
  requestTimeoutMs: 300_000,
};

const worker = (id: string, models: string[], more: Partial<JoiningWorker> = {}): JoiningWorker => ({
  id,
  name: id,
  provider: "local",
  models,
  maxConcurrent: 1,
  load: 0,
  carries: 0,
  ...more,
});

/** A core with workers that are busy from the start, so that everything waits. */
function busy(workers: JoiningWorker[], settings: Partial<CoreSettings> = {}) {
  const core = new RelayCore({ ...SETTINGS, ...settings }, () => 0.5);
  const holds = new Map<string, string>();
  let now = 0;
  let count = 0;
  const on = (event: CoreEvent) => {
    const effects = core.handle(event, ++now);
    for (const effect of effects)
      if (effect.type === "dispatch") holds.set(effect.workerId, effect.requestId);
    return effects;
  };
  const join = (joining: JoiningWorker) => {
    on({ type: "worker_joined", worker: joining });
    if (!holds.has(joining.id)) ask(`first of ${joining.id}`, { model: joining.models[0] });
  };
  const ask = (id: string, more: Partial<ArrivingRequest> = {}) =>
    on({
      type: "request_arrived",
      request: { id, model: "m", needs: 0, sender: "s", priority: "normal", ...more },
    });
  for (const joining of workers) join(joining);
  return {
    core,
    on,
    ask,
    pass: (ms: number) => (now += ms),
    /** Requests of one sender: "a" sends a1, a2 and so on. */
    send: (sender: string, n: number, more: Partial<ArrivingRequest> = {}) =>
      Array.from({ length: n }, () => ask(`${sender}${++count}`, { sender, ...more })).flat(),
    /** What the worker is given next, once what it holds has ended. */
    next: (workerId = "w", ok = true) => {
      const requestId = holds.get(workerId) ?? "";
      holds.delete(workerId);
      on({ type: "response_ended", requestId, ok });
      return holds.get(workerId);
    },
    leave: (requestId: string) => on({ type: "client_gone", requestId, reason: "client_disconnect" }),
  };
}

const refused = (effects: readonly CoreEffect[]) =>
  effects.map((effect) => (effect.type === "refuse" ? `${effect.requestId}: ${effect.refusal.code}` : ""));

const sendersOf = (ids: (string | undefined)[]) => ids.map((id) => id?.replace(/\d+$/, "") ?? "-").join(" ");

describe("Senders", () => {
  test("take turns, whoever has more waiting", () => {
    const relay = busy([worker("w", ["m"])]);
    relay.send("a", 4);
    relay.send("b", 2);
    relay.send("c", 1);
    expect(sendersOf(Array.from({ length: 7 }, () => relay.next()))).toBe("a b c a b a a");
  });

  test("with 1,000 waiting requests delay another's first by one", () => {
    const relay = busy([worker("w", ["m"])]);
    relay.send("a", 1_000);
    for (let n = 0; n < 10; n++) relay.next();
    relay.send("b", 1);
    expect(sendersOf([relay.next(), relay.next()])).toBe("a b");
  });

  test("gain nothing by waiting for many models", () => {
    const models = Array.from({ length: 20 }, (_, n) => `m${n}`);
    const relay = busy([worker("w", models)]);
    for (const model of models) relay.send("a", 5, { model });
    relay.send("b", 3, { model: "m3" });
    expect(sendersOf(Array.from({ length: 6 }, () => relay.next()))).toBe("a b a b a b");
  });

  test("that come back after a pause gain no credit and owe nothing", () => {
    const relay = busy([worker("w", ["m"])]);
    relay.send("a", 20);
    relay.send("b", 1);
    const before = Array.from({ length: 8 }, () => relay.next());
    relay.send("b", 3);
    const after = Array.from({ length: 6 }, () => relay.next());
    expect([sendersOf(before), sendersOf(after)]).toEqual(["a b a a a a a a", "a b a b a b"]);
  });

  test("keep their place when they take back their first request", () => {
    const relay = busy([worker("w", ["m"])]);
    relay.send("a", 3);
    relay.ask("gone", { sender: "b" });
    relay.ask("kept", { sender: "b" });
    relay.send("c", 3);
    relay.leave("gone");
    expect([relay.next(), relay.next()].at(-1)).toBe("kept");
  });

  test("that are served much by one worker are not behind at another", () => {
    const relay = busy([worker("x", ["x"]), worker("y", ["y"])]);
    relay.send("a", 50, { model: "x" });
    relay.send("b", 50, { model: "y" });
    for (let n = 0; n < 40; n++) relay.next("x");
    relay.send("a", 2, { model: "y" });
    const given: (string | undefined)[] = [];
    for (let n = 0; n < 4; n++) {
      given.push(relay.next("y"));
      relay.next("x");
    }
    expect(sendersOf(given)).toBe("b a b a");
  });

  test("share turns over all workers that can serve them alike", () => {
    const ids = ["w0", "w1", "w2", "w3"];
    const relay = busy(ids.map((id) => worker(id, ["m"])));
    relay.send("a", 100);
    for (const id of ids) relay.next(id);
    relay.send("b", 4);
    expect(sendersOf(ids.map((id) => relay.next(id)))).toBe("a b a b");
  });

  test("have the turn again that a lost worker took with it, and the request its place", () => {
    const relay = busy([worker("w", ["m"])]);
    relay.ask("a1", { sender: "a" });
    relay.ask("b1", { sender: "b" });
    relay.ask("a2", { sender: "a" });
    relay.ask("b2", { sender: "b" });
    expect(relay.next()).toBe("a1");
    relay.on({ type: "worker_lost", workerId: "w" });
    relay.on({ type: "worker_joined", worker: worker("v", ["m"]) });
    expect([relay.core.holderOf("a1"), relay.next("v"), relay.next("v"), relay.next("v")]).toEqual([
      "v",
      "b1",
      "a2",
      "b2",
    ]);
  });

  test("do not hold back others by a request that the worker cannot serve", () => {
    const relay = busy([worker("text", ["m"]), worker("bytes", ["m"], { carries: 2 })]);
    relay.ask("a1", { sender: "a", needs: 2 });
    relay.ask("b1", { sender: "b" });
    expect([relay.next("text"), relay.next("bytes")]).toEqual(["b1", "a1"]);
  });
});

describe("Classes", () => {
  test("go from high to low, whenever they came", () => {
    const relay = busy([worker("w", ["m"])]);
    relay.send("l", 1, { priority: "low" });
    relay.send("n", 1);
    relay.send("h", 1, { priority: "high" });
    expect(sendersOf([relay.next(), relay.next(), relay.next()])).toBe("h n l");
  });

  test("that were passed over eight times in a row get the next place, the lowest first", () => {
    const relay = busy([worker("w", ["m"])]);
    relay.send("l", 9, { priority: "low" });
    relay.send("n", 9);
    relay.send("h", 90, { priority: "high" });
    const given = sendersOf(Array.from({ length: 2 * MAX_PASSES + 4 }, () => relay.next()));
    expect(given).toBe("h h h h h h h h l n h h h h h h h l h n");
  });

  test("share the count of passes over all workers that offer the same", () => {
    const ids = ["w0", "w1", "w2", "w3"];
    const relay = busy(ids.map((id, n) => worker(id, n % 2 === 0 ? ["m", "n"] : ["n", "m"])));
    relay.send("l", 1, { priority: "low" });
    relay.send("h", 20, { priority: "high" });
    const given = [...ids, ...ids, ...ids].map((id) => relay.next(id));
    expect(given.findIndex((id) => id?.startsWith("l"))).toBe(MAX_PASSES);
  });

  test("keep the count when those who wait give up, so that short patience does not starve a class", () => {
    const relay = busy([worker("w", ["m"])]);
    relay.send("h", 20, { priority: "high" });
    for (let n = 0; n < MAX_PASSES; n++) {
      relay.ask(`l${n}`, { priority: "low" });
      relay.next();
      relay.leave(`l${n}`);
    }
    relay.ask("last", { priority: "low" });
    expect(relay.next()).toBe("last");
  });

  test("are not passed over by a worker that could not have served them", () => {
    const relay = busy([worker("x", ["x"]), worker("y", ["y"])]);
    relay.send("h", 30, { model: "x", priority: "high" });
    relay.send("h", 30, { model: "y", priority: "high" });
    relay.send("l", 1, { model: "y", priority: "low" });
    for (let n = 0; n < 20; n++) relay.next("x");
    expect(sendersOf([relay.next("y"), relay.next("y")])).toBe("h h");
  });
});

describe("A full queue", () => {
  test("refuses the one who has most waiting", () => {
    const relay = busy([worker("w", ["m"])], { maxQueueLength: 3 });
    relay.send("a", 3);
    expect(refused(relay.ask("late", { sender: "a" }))).toEqual(["late: queue_full"]);
  });

  test("lets others in at the cost of the newest request of the one who has most", () => {
    const relay = busy([worker("w", ["m", "n"])], { maxQueueLength: 4 });
    relay.ask("a1", { sender: "a" });
    relay.ask("a2", { sender: "a", model: "n" });
    relay.ask("a3", { sender: "a" });
    relay.ask("a4", { sender: "a", model: "n" });
    expect(refused(relay.ask("b1", { sender: "b" }))).toEqual(["a4: queue_full"]);
    expect(refused(relay.ask("b2", { sender: "b" }))).toEqual(["a3: queue_full"]);
    expect(refused(relay.ask("b3", { sender: "b" }))).toEqual(["b3: queue_full"]);
    expect(refused(relay.ask("a5", { sender: "a" }))).toEqual(["a5: queue_full"]);
    expect(relay.core.queueLength).toBe(4);
  });

  test("is not refilled in turns by those who have equally much", () => {
    const relay = busy([worker("w", ["m"])], { maxQueueLength: 2 });
    relay.send("a", 1);
    relay.send("b", 1);
    expect(refused(relay.ask("c1", { sender: "c" }))).toEqual(["c1: queue_full"]);
  });

  test("lets a high request in at the cost of the newest low one", () => {
    const relay = busy([worker("w", ["m"])], { maxQueueLength: 2 });
    relay.ask("l1", { priority: "low" });
    relay.ask("l2", { priority: "low" });
    expect(refused(relay.ask("h1", { priority: "high" }))).toEqual(["l2: queue_full"]);
    expect(refused(relay.ask("n1"))).toEqual(["l1: queue_full"]);
    expect(refused(relay.ask("l3", { priority: "low" }))).toEqual(["l3: queue_full"]);
    expect(refused(relay.ask("h2", { priority: "high" }))).toEqual(["n1: queue_full"]);
  });

  test("keeps a ninth for each lower class, whatever comes from above", () => {
    const relay = busy([worker("w", ["m"])], { maxQueueLength: 18 });
    relay.send("h", 30, { priority: "high" });
    relay.send("n", 30);
    relay.send("l", 30, { priority: "low" });
    relay.send("h", 30, { priority: "high" });
    expect(relay.core.queuedByPriority).toEqual({ high: 14, normal: 2, low: 2 });
  });

  test("takes nothing at all where the limit is 0, although a lost worker's request waits", () => {
    const relay = busy([worker("w", ["m"])], { maxQueueLength: 0 });
    relay.on({ type: "worker_lost", workerId: "w" });
    expect(refused(relay.ask("h1", { priority: "high" }))).toEqual(["h1: queue_full"]);
    expect(relay.core.queueLength).toBe(1);
  });
});

describe("A resting worker", () => {
  /** One that rests and has room, and one that is awake and busy; what came since waits. */
  function resting(awake: string[] = ["m"]) {
    const relay = busy([worker("tired", ["m", "n"]), worker("awake", awake)]);
    relay.ask("r1");
    relay.ask("r2");
    for (let n = 0; n < 3; n++) relay.next("tired", false);
    return relay;
  }

  test("leaves to others what they can serve, and takes what only it can, of the same sender too", () => {
    const relay = resting();
    relay.ask("old", { model: "m" });
    relay.ask("mine", { model: "n" });
    relay.ask("next", { model: "n" });
    expect([relay.core.holderOf("old"), relay.core.holderOf("mine")]).toEqual([undefined, "tired"]);
    expect(relay.next("tired", false)).toBe("next");
    expect([relay.next("awake"), relay.core.queueLength]).toEqual(["old", 0]);
  });

  test.each<[string, CoreEvent]>([
    ["drains", { type: "worker_draining", workerId: "awake" }],
    ["no longer offers the model", { type: "worker_models", workerId: "awake", models: ["o"], load: 1 }],
  ])("takes what waits once the last one that was awake %s", (_, event) => {
    const relay = resting();
    relay.ask("waits");
    relay.on(event);
    expect(relay.core.holderOf("waits")).toBe("tired");
  });

  test("takes what waits once the last one that was awake fails as often", () => {
    const relay = resting();
    for (let n = 0; n < 4; n++) relay.ask(`waits${n}`);
    for (let n = 0; n < 3; n++) relay.next("awake", false);
    expect([relay.core.holderOf("waits2"), relay.core.holderOf("waits3")]).toEqual(["awake", "tired"]);
  });

  test("is given nothing more once it is lost", () => {
    const relay = busy([worker("tired", ["m"]), worker("other", ["o"])]);
    relay.ask("r1");
    relay.ask("r2");
    for (let n = 0; n < 3; n++) relay.next("tired", false);
    relay.on({ type: "worker_lost", workerId: "tired" });
    relay.ask("any", { model: undefined });
    relay.pass(10_000);
    relay.on({ type: "tick" });
    expect([relay.core.holderOf("any"), relay.next("other")]).toEqual([undefined, "any"]);
  });
});

/** A number below `n`; the same ones in each run. */
function numbers(seed: number) {
  let state = seed * 7_919 + 1;
  return (n: number) => (state = (state * 48_271) % 2_147_483_647) % n;
}

interface Mix {
  seed: number;
  senders: number;
  models: number;
  limit: number;
  /** Whether workers are lost and join, and change their models, on the way. */
  moving: boolean;
  failing?: boolean;
}

/** Sends events at random to a core, and holds what it does against `SlowQueue` and the promises on fairness. */
function compare({ seed, senders, models, limit, moving, failing = false }: Mix) {
  const next = numbers(seed);
  const core = new RelayCore({ ...SETTINGS, maxQueueLength: limit }, () => 0.5);
  const slow = new SlowQueue();
  const fairness = new Fairness(slow);
  const requests = new Map<string, ArrivingRequest>();
  const takers = new Map<string, SlowTaker>();
  const held = new Map<string, string>();
  let now = 0;
  let ids = 0;
  let joined = 0;

  const pick = <T>(from: readonly T[]) => from[next(from.length)];
  const someModels = () => {
    const chosen = Array.from({ length: models }, (_, n) => `m${n}`).filter(() => next(3) > 0);
    return chosen.length === 0 ? ["m0"] : chosen;
  };
  const taken = (effect: CoreEffect & { type: "dispatch" }) => {
    const taker = takers.get(effect.workerId);
    const request = requests.get(effect.requestId);
    if (taker === undefined || request === undefined) throw new Error("dispatched what is not there");
    held.set(effect.requestId, effect.workerId);
    if (failing) slow.remove(effect.requestId);
    else if (slow.waiting.some(({ id }) => id === effect.requestId)) {
      if (!moving) fairness.dispatched(taker, request);
      expect({ seed, now, id: slow.take(taker)?.id }).toEqual({ seed, now, id: effect.requestId });
      if (!moving) fairness.look(takers.values());
    }
  };
  /** @param comeBack what returns to the queue unless it is dispatched at once */
  const tell = (event: CoreEvent, comeBack: ArrivingRequest[] = []) => {
    const effects = core.handle(event, now);
    for (const request of comeBack) {
      if (!effects.some((effect) => effect.requestId === request.id)) slow.add(request);
    }
    for (const effect of effects) {
      if (effect.type === "dispatch") taken(effect);
      else slow.remove(effect.requestId);
    }
    return effects;
  };
  const join = (n: number) => {
    const joining = worker(`w${n}`, someModels(), { carries: next(2) * 3, maxConcurrent: 1 + next(2) });
    takers.set(joining.id, joining);
    tell({ type: "worker_joined", worker: joining });
  };
  const arrive = () => {
    const request: ArrivingRequest = {
      id: `r${ids++}`,
      model: next(20) === 0 ? undefined : `m${next(models)}`,
      needs: next(5) === 0 ? 2 : 0,
      sender: next(2) === 0 ? "hog" : `s${next(senders)}`,
      priority: pick(CLASSES) ?? "normal",
    };
    requests.set(request.id, request);
    slow.arrive(request);
    const full = slow.waiting.length >= limit ? slow.lastServed(request, limit).id : undefined;
    const effects = tell({ type: "request_arrived", request });
    const [first] = effects;
    if (first === undefined) slow.add(request);
    else if (first.type === "refuse" && first.refusal.code === "queue_full") {
      expect({ seed, now, refused: first.requestId }).toEqual({ seed, now, refused: full ?? "none" });
      if (first.requestId !== request.id) slow.add(request);
    }
  };
  const end = () => {
    const id = pick([...held.keys()]);
    if (id === undefined) return;
    held.delete(id);
    tell({ type: "response_ended", requestId: id, ok: !failing || next(3) === 0 });
  };
  const leave = () => {
    const id = pick([...held.keys(), ...slow.waiting.map((request) => request.id)]);
    if (id === undefined) return;
    held.delete(id);
    slow.remove(id);
    tell({ type: "client_gone", requestId: id, reason: "client_disconnect" });
  };
  const lose = () => {
    const id = pick([...takers.keys()]) ?? "";
    takers.delete(id);
    slow.keepPassesOf(takers.values());
    const orphans = [...held].filter(([, holder]) => holder === id).map(([request]) => request);
    for (const orphan of orphans) held.delete(orphan);
    const comeBack = orphans.flatMap((orphan) => requests.get(orphan) ?? []);
    comeBack.sort((a, b) => slow.arrivedAt(a) - slow.arrivedAt(b));
    tell({ type: "worker_lost", workerId: id }, comeBack);
    join(joined++);
  };
  const change = () => {
    const id = pick([...takers.keys()]) ?? "";
    const taker = takers.get(id);
    if (taker === undefined) return;
    taker.models = someModels();
    slow.keepPassesOf(takers.values());
    tell({ type: "worker_models", workerId: id, models: taker.models, load: 0 });
  };

  while (joined < 4) join(joined++);
  for (let n = 0; n < 400; n++) {
    now += 10;
    const kind = next(20);
    if (kind < 9) arrive();
    else if (kind < 16) end();
    else if (kind < 18) leave();
    else if (moving) (kind === 18 ? lose : change)();
    else if (failing) tell({ type: "tick" });
    if (!moving && !failing) fairness.look(takers.values());
    expect({ seed, now, length: core.queueLength }).toEqual({ seed, now, length: slow.waiting.length });
    const idle = slow.waiting.filter(
      ({ model, needs }) => chooseWorker(core.registry.offering(model), needs, now).kind === "worker",
    );
    if (!failing || kind >= 18) expect({ seed, now, idle }).toEqual({ seed, now, idle: [] });
  }
}

/** A sender's first request at some workers, and the turns of others since it is that. */
interface First {
  id: string;
  sender: string;
  turns: Map<string, number>;
}

/** The promises to senders and classes, counted; knows of nothing but what waits and what is dispatched. */
class Fairness {
  readonly #slow: SlowQueue;
  /** By group of workers, class and sender. */
  #firsts = new Map<string, First>();
  readonly #passes = new Map<string, number>();

  constructor(slow: SlowQueue) {
    this.#slow = slow;
  }

  /** Finds out who is first at which worker. */
  look(takers: Iterable<SlowTaker>): void {
    const firsts = new Map<string, First>();
    for (const taker of takers) {
      for (const request of this.#slow.waiting) {
        const key = JSON.stringify([group(taker), request.priority, request.sender]);
        if (firsts.has(key) || !canTake(taker, request)) continue;
        const known = this.#firsts.get(key);
        const { id, sender } = request;
        firsts.set(key, known?.id === id ? known : { id, sender, turns: new Map() });
      }
    }
    this.#firsts = firsts;
  }

  dispatched(taker: SlowTaker, { sender, priority }: ArrivingRequest): void {
    const at = JSON.stringify([group(taker), priority]).slice(0, -1);
    for (const [key, first] of this.#firsts) {
      if (first.sender === sender) {
        // It had a turn with a worker that could have taken this one: an earlier one of its own went first.
        const waits = this.#slow.waiting.find(({ id }) => id === first.id);
        if (waits?.priority === priority && canTake(taker, waits)) first.turns.clear();
      } else if (key.startsWith(at)) {
        const turns = (first.turns.get(sender) ?? 0) + 1;
        first.turns.set(sender, turns);
        expect({ waits: first.id, passedBy: sender, turns }).toEqual({
          waits: first.id,
          passedBy: sender,
          turns: 1,
        });
      }
    }
    this.#passes.set(at, 0);
    for (const lower of CLASSES.slice(CLASSES.indexOf(priority) + 1)) {
      const able = this.#slow.waiting.some(
        (request) => request.priority === lower && canTake(taker, request),
      );
      if (!able) continue;
      const key = JSON.stringify([group(taker), lower]).slice(0, -1);
      this.#passes.set(key, (this.#passes.get(key) ?? 0) + 1);
      expect(this.#passes.get(key)).toBeLessThanOrEqual(MAX_PASSES);
    }
  }
}

const group = (taker: SlowTaker) => JSON.stringify([taker.carries, taker.models.toSorted()]);

describe("The queue's order", () => {
  const seeds = Array.from({ length: 40 }, (_, seed) => seed);

  test("is that of the slow queue, with a round's bound for senders and eight passes for classes", () => {
    for (const seed of seeds) compare({ seed, senders: 5, models: 3, limit: 1_000, moving: false });
  });

  test("is that of the slow queue while workers are lost, join and change their models", () => {
    for (const seed of seeds) compare({ seed, senders: 5, models: 4, limit: 1_000, moving: true });
  });

  test("is that of the slow queue when it is full, and so is who has to go", () => {
    for (const seed of seeds)
      compare({ seed, senders: 4, models: 3, limit: 5 + seed, moving: seed % 2 === 0 });
  });

  test("leaves nothing waiting that a worker could take, whoever fails and rests", () => {
    for (const seed of seeds)
      compare({ seed, senders: 5, models: 3, limit: 1_000, moving: false, failing: true });
  });
});
