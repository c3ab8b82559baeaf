import { FairQueue, type Ask } from "./fair-queue.ts";
import { Heap } from "./heap.ts";
import { PRIORITIES, type Priority } from "./priority.ts";
import type { CoreWorker } from "./registry.ts";
import type { CoreRequest } from "./request.ts";

/**
 * Times in a row that a class is passed over before it gets the next place. So under an endless flood of
 * higher requests a ninth of the places is left for a class: little enough that the high ones hardly notice
 * it, enough that with answers of a few seconds its turn comes within the usual queue time of 30 s.
 */
export const MAX_PASSES = 8;

/** A waiting request, by when it began to wait; what it waited before a requeue counts. */
interface Deadline {
  readonly request: CoreRequest;
  readonly since: number;
  place: number;
}

/**
 * Waiting requests. The highest class goes first, a class that was passed over often enough goes before
 * it, and within a class senders take turns. A worker only takes what it can serve.
 */
export class RequestQueue {
  readonly #classes: Readonly<Record<Priority, FairQueue>> = {
    high: new FairQueue(),
    normal: new FairQueue(),
    low: new FairQueue(),
  };
  readonly #deadlines = new Map<CoreRequest, Deadline>();
  readonly #byDeadline = new Heap<Deadline>(
    (a, b) => a.since < b.since || (a.since === b.since && a.request.sequence < b.request.sequence),
  );
  #order = 0;

  get length(): number {
    return this.#deadlines.size;
  }

  lengthOf(priority: Priority): number {
    return this.#classes[priority].length;
  }

  /** The next number in the one count of arrivals and turns. */
  nextOrder(): number {
    return ++this.#order;
  }

  add(request: CoreRequest): void {
    const { state } = request;
    const since = (state.phase === "queued" ? state.since : request.arrivedAt) - request.waitedMs;
    const deadline: Deadline = { request, since, place: 0 };
    this.#deadlines.set(request, deadline);
    this.#byDeadline.add(deadline);
    this.#classes[request.priority].add(request);
  }

  remove(request: CoreRequest): boolean {
    if (!this.#classes[request.priority].remove(request)) return false;
    this.#forget(request);
    return true;
  }

  /** Takes out what the worker is to serve next, of what it can serve and `allows` lets it. */
  take(worker: CoreWorker, allows: (ask: Ask) => boolean): CoreRequest | undefined {
    const { passedOver } = worker.group;
    const waiting = PRIORITIES.flatMap((priority) => {
      const queue = this.#classes[priority];
      const next = queue.length === 0 ? undefined : queue.next(worker, allows);
      return next === undefined ? [] : [{ priority, queue, next }];
    });
    // Of several classes whose place is due, the lowest: it is passed over by the others as well.
    const chosen = waiting.findLast(({ priority }) => passedOver[priority] >= MAX_PASSES) ?? waiting[0];
    if (chosen === undefined) return undefined;
    passedOver[chosen.priority] = 0;
    for (const { priority } of waiting.slice(waiting.indexOf(chosen) + 1)) passedOver[priority]++;
    const request = chosen.queue.take(chosen.next, worker, allows, this.nextOrder());
    if (request !== undefined) this.#forget(request);
    return request;
  }

  /**
   * Who has to go when one more arrives at a queue that may hold `limit`: the one that would be served
   * last, be it the one that arrives. It is of the lowest class that holds more than the part of the queue
   * that is kept for it, which is its part of the places; in that class, the newest request of the sender
   * who has most. Of senders that have equally many, the one who arrives has to go.
   */
  lastServed(arriving: CoreRequest, limit: number): CoreRequest {
    const kept = Math.floor(limit / (MAX_PASSES + 1));
    const lengthWith = (priority: Priority) =>
      this.lengthOf(priority) + (priority === arriving.priority ? 1 : 0);
    const priority = PRIORITIES.findLast((lower) => lengthWith(lower) > kept) ?? arriving.priority;
    const queue = this.#classes[priority];
    const own = priority === arriving.priority ? queue.lengthOf(arriving.sender) + 1 : 0;
    const { largest } = queue;
    if (largest === undefined || own >= largest.length) return arriving;
    return queue.newestOf(largest.id) ?? arriving;
  }

  /** The one that has waited longest. */
  get longestWaiting(): { request: CoreRequest; since: number } | undefined {
    return this.#byDeadline.first;
  }

  /** All that wait, in no particular order; a copy, so that entries can be removed meanwhile. */
  all(): CoreRequest[] {
    return [...this.#deadlines.keys()];
  }

  #forget(request: CoreRequest): void {
    const deadline = this.#deadlines.get(request);
    if (deadline === undefined) return;
    this.#deadlines.delete(request);
    this.#byDeadline.remove(deadline);
  }
}
