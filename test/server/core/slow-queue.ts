import type { CoreRequest } from "../../../src/server/core/request.ts";
import { MAX_PASSES } from "../../../src/server/core/queue.ts";

export const CLASSES = ["high", "normal", "low"] as const;

type Queued = Pick<CoreRequest, "id" | "model" | "needs" | "sender" | "priority">;

/** What a worker can take, and which workers it takes turns with. */
export interface SlowTaker {
  models: readonly string[];
  carries: number;
}

/**
 * The order of the queue as `docs/queue.md` tells it, by looking through everything each time. A place in
 * the round is kept by sender, class, model and needs, for as long as one such request waits.
 */
export class SlowQueue {
  waiting: Queued[] = [];
  readonly #arrived = new Map<string, number>();
  readonly #placeWhenTaken = new Map<string, number>();
  readonly #places = new Map<string, number>();
  readonly #since = new Map<string, number>();
  readonly #passes = new Map<string, number>();
  #count = 0;

  arrive(request: Queued): void {
    this.#arrived.set(request.id, ++this.#count);
    this.#placeWhenTaken.set(request.id, this.#count);
  }

  /** For one that arrived, and for one that comes back. */
  add(request: Queued): void {
    if (!this.waiting.some((other) => member(other) === member(request)))
      this.#since.set(member(request), this.arrivedAt(request));
    this.waiting.push(request);
    this.waiting.sort((a, b) => this.arrivedAt(a) - this.arrivedAt(b));
    const place = this.#placeWhenTaken.get(request.id) ?? 0;
    this.#places.set(flow(request), Math.min(place, this.#places.get(flow(request)) ?? place));
  }

  remove(id: string): void {
    this.waiting = this.waiting.filter((request) => request.id !== id);
    const flows = new Set(this.waiting.map(flow));
    for (const key of this.#places.keys()) if (!flows.has(key)) this.#places.delete(key);
  }

  take(worker: SlowTaker): Queued | undefined {
    const able = this.waiting.filter((request) => canTake(worker, request));
    const classes = CLASSES.filter((priority) => able.some((request) => request.priority === priority));
    const due = classes.filter((priority) => this.#passesOf(worker, priority) >= MAX_PASSES);
    const chosen = due.at(-1) ?? classes[0];
    if (chosen === undefined) return undefined;
    this.#passes.set(passKey(worker, chosen), 0);
    for (const priority of classes.slice(classes.indexOf(chosen) + 1))
      this.#passes.set(passKey(worker, priority), this.#passesOf(worker, priority) + 1);

    const ofClass = able.filter((request) => request.priority === chosen);
    const place = Math.min(...ofClass.map((request) => this.#placeOf(request)));
    const sender = ofClass.find((request) => this.#placeOf(request) === place)?.sender;
    const ofSender = ofClass.filter((request) => request.sender === sender);
    const [taken] = ofSender;
    if (taken === undefined) return undefined;
    this.#placeWhenTaken.set(taken.id, place);
    this.#count++;
    for (const request of ofSender) this.#places.set(flow(request), this.#count);
    this.remove(taken.id);
    return taken;
  }

  /** The one to be refused when `arriving` finds `limit` waiting. */
  lastServed(arriving: Queued, limit: number): Queued {
    const all = [...this.waiting, arriving];
    const kept = Math.floor(limit / (MAX_PASSES + 1));
    const of = (priority: string) => all.filter((request) => request.priority === priority);
    const ofClass = of(CLASSES.findLast((priority) => of(priority).length > kept) ?? arriving.priority);
    const ownOf = (sender: string) => ofClass.filter((request) => request.sender === sender);
    const most = Math.max(...ofClass.map(({ sender }) => ownOf(sender).length));
    const last = (request: Queued) =>
      (request === arriving ? Infinity : this.#since.get(member(request))) ?? 0;
    const hogs = ofClass.filter(({ sender }) => ownOf(sender).length === most);
    const [hog = arriving] = hogs.toSorted((a, b) => last(b) - last(a));
    return ownOf(hog.sender).at(-1) ?? arriving;
  }

  /** Forgets what was counted of workers none of whom is left. */
  keepPassesOf(workers: Iterable<SlowTaker>): void {
    const kept = new Set([...workers].flatMap((worker) => CLASSES.map((name) => passKey(worker, name))));
    for (const key of this.#passes.keys()) if (!kept.has(key)) this.#passes.delete(key);
  }

  arrivedAt(request: { id: string }): number {
    return this.#arrived.get(request.id) ?? 0;
  }

  #placeOf(request: Queued): number {
    return this.#places.get(flow(request)) ?? 0;
  }

  #passesOf(worker: SlowTaker, priority: string): number {
    return this.#passes.get(passKey(worker, priority)) ?? 0;
  }
}

export function canTake(worker: SlowTaker, { model, needs }: Pick<Queued, "model" | "needs">): boolean {
  return (model === undefined || worker.models.includes(model)) && (needs & ~worker.carries) === 0;
}

const flow = ({ sender, priority, model, needs }: Queued) => JSON.stringify([sender, priority, model, needs]);

const member = ({ sender, priority }: Queued) => JSON.stringify([sender, priority]);

const passKey = (worker: SlowTaker, priority: string) =>
  JSON.stringify([priority, worker.carries, worker.models.toSorted()]);
