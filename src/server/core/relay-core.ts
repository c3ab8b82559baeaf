import type { CancelReason } from "../../protocol/messages.ts";
import { unreachable } from "../../base/errors.ts";
import type { Ask } from "./fair-queue.ts";
import type { Priority } from "./priority.ts";
import { RequestQueue } from "./queue.ts";
import { hasRoom, WorkerRegistry, type CoreWorker } from "./registry.ts";
import { newRequest, type CoreRequest } from "./request.ts";
import { chooseWorker, othersAwake } from "./scheduler.ts";
import type { ArrivingRequest, CoreEffect, CoreEvent, CoreSettings, Refusal } from "./types.ts";

const NOTHING: readonly CoreEffect[] = [];

/** Times that a request goes back to the queue because its worker vanished before the first byte. */
export const MAX_REQUEUES = 3;

/**
 * The relay's decisions: who serves which request, who waits, who is refused. `handle` takes one event
 * and the time and returns what the shells must do; there is no socket, no timer and no clock in here.
 *
 * ```
 * arrived ─► queued ─► running ─► streaming ─► (forgotten)
 *               ▲─────────┘ worker lost, at most MAX_REQUEUES times
 * ```
 */
export class RelayCore {
  readonly registry: WorkerRegistry;
  readonly #queue = new RequestQueue();
  /** In order of arrival, so the first has the earliest deadline. */
  readonly #requests = new Map<string, CoreRequest>();
  readonly #random: () => number;
  #settings: CoreSettings;
  #turn = 0;
  #draining = false;
  #leaving = false;
  #effects: CoreEffect[] | undefined;

  constructor(settings: CoreSettings, random: () => number) {
    this.#settings = settings;
    this.#random = random;
    this.registry = new WorkerRegistry(settings.provider);
  }

  get queueLength(): number {
    return this.#queue.length;
  }

  get queuedByPriority(): Record<Priority, number> {
    const queue = this.#queue;
    return { high: queue.lengthOf("high"), normal: queue.lengthOf("normal"), low: queue.lengthOf("low") };
  }

  /** Requests that have arrived and not ended. */
  get requestCount(): number {
    return this.#requests.size;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** Takes new limits; they hold for requests that are already here as well. */
  configure(settings: Omit<CoreSettings, "provider">): void {
    this.#settings = { ...this.#settings, ...settings };
  }

  /** The worker that holds the request, if one does. */
  holderOf(requestId: string): string | undefined {
    const state = this.#requests.get(requestId)?.state;
    return state === undefined || state.phase === "queued" ? undefined : state.workerId;
  }

  /**
   * @param now ms on a clock that never goes backwards
   * @returns what to do, in order
   */
  handle(event: CoreEvent, now: number): readonly CoreEffect[] {
    this.#effects = undefined;
    this.#apply(event, now);
    if (this.#leaving && this.#queue.length > 0) this.#refuseForsaken(now);
    return this.#effects ?? NOTHING;
  }

  #do(effect: CoreEffect): void {
    (this.#effects ??= []).push(effect);
  }

  /** The time at which a `tick` is due next, or `undefined` when nothing waits for time. */
  nextDeadline(now: number): number | undefined {
    let deadline = Number.POSITIVE_INFINITY;
    if (this.#settings.requestTimeoutMs > 0) {
      for (const first of this.#requests.values()) {
        deadline = first.arrivedAt + this.#settings.requestTimeoutMs;
        break;
      }
    }
    const longest = this.#queue.longestWaiting;
    if (longest !== undefined) {
      deadline = Math.min(deadline, longest.since + this.#settings.queueTimeoutMs);
      for (const worker of this.registry.troubled()) {
        if (worker.restUntil > now) deadline = Math.min(deadline, worker.restUntil);
      }
    }
    return Number.isFinite(deadline) ? deadline : undefined;
  }

  #apply(event: CoreEvent, now: number): void {
    switch (event.type) {
      case "worker_joined":
        return this.#fill(this.registry.add(event.worker), now);
      case "worker_models":
      case "worker_load":
      case "worker_draining":
      case "worker_suspended":
      case "worker_resumed":
      case "worker_lost": {
        const worker = this.registry.get(event.workerId);
        if (worker !== undefined) this.#change(worker, event, now);
        return;
      }
      case "request_arrived":
        return this.#arrive(event.request, now);
      case "response_started": {
        const request = this.#requests.get(event.requestId);
        if (request?.state.phase === "running")
          request.state = { phase: "streaming", workerId: request.state.workerId };
        return;
      }
      case "response_ended":
        return this.#end(event.requestId, event.ok, now);
      case "client_gone": {
        const request = this.#requests.get(event.requestId);
        if (request !== undefined) this.#drop(request, event.reason, now);
        return;
      }
      case "relay_draining":
        this.#draining = true;
        for (const request of this.#queue.all()) this.#refuse(request, { code: "draining" });
        return;
      case "relay_leaving":
        this.#leaving = true;
        return;
      case "models_expected":
        return this.registry.expect(event.models);
      case "tick":
        return this.#tick(now);
      default:
        return unreachable(event);
    }
  }

  #change(worker: CoreWorker, event: Extract<CoreEvent, { workerId: string }>, now: number): void {
    switch (event.type) {
      case "worker_models":
        this.registry.setModels(worker, event.models);
        this.#correctLoad(worker, event.load, now);
        return this.#fillTroubled(now);
      case "worker_load":
        return this.#correctLoad(worker, event.load, now);
      case "worker_draining":
        worker.draining = true;
        return this.#fillTroubled(now);
      case "worker_suspended":
      case "worker_resumed":
        worker.suspended = event.type === "worker_suspended";
        return this.#fill(worker, now);
      case "worker_lost":
        return this.#lose(worker, now);
    }
  }

  #arrive(arriving: ArrivingRequest, now: number): void {
    const request = newRequest(arriving, this.#queue.nextOrder(), now);
    this.#requests.set(request.id, request);
    if (this.#draining) return this.#refuse(request, { code: "draining" });
    const choice = chooseWorker(this.registry.offering(request.model), request.needs, now);
    switch (choice.kind) {
      case "worker":
        return this.#dispatch(request, choice.worker, now);
      case "cannot_carry": {
        const { model, needs } = request;
        return this.#refuse(request, { code: "link_cannot_carry", model, needs });
      }
      case "nobody":
        // A model that was offered a moment ago may be back in one: its worker reconnects.
        if (!this.#mayBeOffered(request.model)) {
          const offered = this.registry.models();
          return this.#refuse(request, { code: "model_not_found", model: request.model, offered });
        }
        break;
      case "wait":
        break;
      default:
        return unreachable(choice);
    }
    const limit = this.#settings.maxQueueLength;
    // Workers that are on their way here take a moment, in which requests come as ever.
    if (this.#queue.length >= limit && !this.registry.isExpecting) {
      const last = limit === 0 ? request : this.#queue.lastServed(request, limit);
      this.#refuse(last, { code: "queue_full", limit });
      if (last === request) return;
    }
    this.#queue.add(request);
  }

  #mayBeOffered(model: string | undefined): boolean {
    return model === undefined ? this.registry.isExpecting : this.registry.wasOffered(model);
  }

  /** Workers come back to a relay, but not to one that has a successor. */
  #refuseForsaken(now: number): void {
    for (const request of this.#queue.all()) {
      const { kind } = chooseWorker(this.registry.offering(request.model), request.needs, now);
      if (kind === "nobody") this.#refuse(request, { code: "moved" });
    }
  }

  #dispatch(request: CoreRequest, worker: CoreWorker, now: number): void {
    if (request.state.phase === "queued") request.waitedMs += now - request.state.since;
    request.state = { phase: "running", workerId: worker.id };
    worker.held.add(request.id);
    worker.lastTurn = ++this.#turn;
    this.#do({ type: "dispatch", requestId: request.id, workerId: worker.id });
  }

  /** Gives a worker that may have room what waits for it. */
  #fill(worker: CoreWorker, now: number): void {
    if (this.#queue.length > 0 && !this.#draining && worker.provider === this.#settings.provider)
      this.#fillFromQueue(worker, now);
  }

  #fillFromQueue(worker: CoreWorker, now: number): void {
    const resting = worker.restUntil > now;
    const allows = ({ model, needs }: Ask) =>
      !resting || !othersAwake(this.registry.offering(model), needs, worker, now);
    while (hasRoom(worker)) {
      const request = this.#queue.take(worker, allows);
      if (request === undefined) return;
      this.#dispatch(request, worker, now);
    }
  }

  /** Who rests may be the last one left for what waits. */
  #fillTroubled(now: number): void {
    if (this.#queue.length === 0) return;
    for (const worker of this.registry.troubled()) this.#fill(worker, now);
  }

  #correctLoad(worker: CoreWorker, reported: number, now: number): void {
    worker.foreign = Math.max(0, reported - worker.held.size);
    this.#fill(worker, now);
  }

  #end(requestId: string, ok: boolean, now: number): void {
    const request = this.#requests.get(requestId);
    if (request === undefined || request.state.phase === "queued") return;
    const worker = this.registry.get(request.state.workerId);
    this.#requests.delete(requestId);
    if (worker === undefined) return;
    worker.held.delete(requestId);
    this.registry.noteOutcome(worker, ok, now, this.#random);
    this.#fill(worker, now);
    if (!ok) this.#fillTroubled(now);
  }

  /** Takes a request from wherever it is, telling its worker. */
  #drop(request: CoreRequest, reason: CancelReason, now: number): void {
    this.#requests.delete(request.id);
    if (request.state.phase === "queued") {
      this.#queue.remove(request);
      return;
    }
    const { workerId } = request.state;
    this.#do({ type: "cancel", requestId: request.id, workerId, reason });
    const worker = this.registry.get(workerId);
    if (worker === undefined) return;
    worker.held.delete(request.id);
    this.#fill(worker, now);
  }

  #lose(worker: CoreWorker, now: number): void {
    this.registry.remove(worker);
    const orphans = [...worker.held]
      .map((id) => this.#requests.get(id))
      .filter((request) => request !== undefined);
    for (const request of orphans.sort((a, b) => a.sequence - b.sequence)) {
      if (request.state.phase === "streaming") {
        this.#refuse(request, { code: "stream_lost" });
      } else if (this.#draining) {
        this.#refuse(request, { code: "draining" });
      } else if (++request.losses > MAX_REQUEUES) {
        this.#refuse(request, { code: "worker_lost", times: request.losses });
      } else {
        this.#requeue(request, now);
      }
    }
    this.#fillTroubled(now);
  }

  #requeue(request: CoreRequest, now: number): void {
    request.state = { phase: "queued", since: now };
    const choice = chooseWorker(this.registry.offering(request.model), request.needs, now);
    // The queue's limit is for new requests: this one has been let in.
    if (choice.kind === "worker") this.#dispatch(request, choice.worker, now);
    else this.#queue.add(request);
  }

  #refuse(request: CoreRequest, refusal: Refusal): void {
    if (request.state.phase === "queued") this.#queue.remove(request);
    this.#requests.delete(request.id);
    this.#do({ type: "refuse", requestId: request.id, refusal });
  }

  #tick(now: number): void {
    this.#endOverdue(now);
    const waitedMs = this.#settings.queueTimeoutMs;
    for (;;) {
      const longest = this.#queue.longestWaiting;
      if (longest === undefined || longest.since + waitedMs > now) break;
      const { request } = longest;
      const offered = chooseWorker(this.registry.offering(request.model), request.needs, now).kind === "wait";
      this.#refuse(request, { code: "queue_timeout", waitedMs, offered });
    }
    // A rest that is over makes room that nothing else would announce.
    this.#fillTroubled(now);
  }

  #endOverdue(now: number): void {
    const limit = this.#settings.requestTimeoutMs;
    if (limit === 0) return;
    const overdue: CoreRequest[] = [];
    for (const request of this.#requests.values()) {
      if (request.arrivedAt + limit > now) break;
      overdue.push(request);
    }
    // Those that wait first: a slot that becomes free must not go to one of them.
    const waiting = overdue.filter((request) => request.state.phase === "queued");
    for (const request of waiting) this.#refuse(request, { code: "request_timeout", afterMs: limit });
    for (const request of overdue) {
      if (request.state.phase === "queued") continue;
      this.#drop(request, "timeout", now);
      this.#do({
        type: "refuse",
        requestId: request.id,
        refusal: { code: "request_timeout", afterMs: limit },
      });
    }
  }
}
