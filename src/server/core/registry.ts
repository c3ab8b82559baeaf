import { backoffMs } from "../../base/backoff.ts";
import type { Priority } from "./priority.ts";
import type { JoiningWorker } from "./types.ts";

/** Workers that offer the same models over links with the same abilities: what one can take, all can. */
export interface WorkerGroup {
  readonly key: string;
  members: number;
  /** Times in a row that they took a request of a higher class while one of this class waited for them. */
  readonly passedOver: Record<Priority, number>;
}

/** A connected worker as the core knows it. */
export interface CoreWorker {
  readonly id: string;
  readonly name: string;
  readonly provider: string;
  models: ReadonlySet<string>;
  group: WorkerGroup;
  readonly maxConcurrent: number;
  readonly carries: number;
  /** Requests that the relay has given it and that have not ended. */
  readonly held: Set<string>;
  /** Load that it reported beyond what the relay gave it; others use the same backend. */
  foreign: number;
  draining: boolean;
  /** Its connection is lost, and may come back: it keeps what it has and gets nothing new. */
  suspended: boolean;
  /** Failures since its last success. */
  failures: number;
  /** It rests until this time, 0 when it does not. */
  restUntil: number;
  /** When it was last given a request, as a count; breaks ties in turn. */
  lastTurn: number;
}

/** Failures in a row after which a worker rests, so that others are tried first. */
const FAILURES_BEFORE_REST = 3;
const REST = { baseMs: 1_000, capMs: 30_000 };

/** Names remembered as once offered, so that a worker that is away for a moment does not cause a 404. */
const MAX_REMEMBERED_MODELS = 10_000;

/** Who is connected, with which models, how loaded, resting or draining. */
export class WorkerRegistry {
  readonly #workers = new Map<string, CoreWorker>();
  /** Workers that serve this relay's clients, by model. */
  readonly #byModel = new Map<string, Set<CoreWorker>>();
  readonly #groups = new Map<string, WorkerGroup>();
  readonly #troubled = new Set<CoreWorker>();
  readonly #onceOffered = new Set<string>();
  /** Models whose workers are on their way here from another process. */
  readonly #expected = new Set<string>();
  readonly #provider: string;

  constructor(provider: string) {
    this.#provider = provider;
  }

  get(id: string): CoreWorker | undefined {
    return this.#workers.get(id);
  }

  values(): IterableIterator<CoreWorker> {
    return this.#workers.values();
  }

  get size(): number {
    return this.#workers.size;
  }

  add(joining: JoiningWorker): CoreWorker {
    const worker: CoreWorker = {
      id: joining.id,
      name: joining.name,
      provider: joining.provider,
      models: new Set(),
      group: this.#join([], joining.carries),
      maxConcurrent: joining.maxConcurrent,
      carries: joining.carries,
      held: new Set(),
      foreign: joining.load,
      draining: false,
      suspended: false,
      failures: 0,
      restUntil: 0,
      lastTurn: 0,
    };
    this.#workers.set(worker.id, worker);
    this.setModels(worker, joining.models);
    return worker;
  }

  remove(worker: CoreWorker): void {
    this.setModels(worker, []);
    this.#leave(worker.group);
    this.#troubled.delete(worker);
    this.#workers.delete(worker.id);
  }

  setModels(worker: CoreWorker, models: readonly string[]): void {
    if (models.length !== worker.models.size || models.some((model) => !worker.models.has(model))) {
      this.#leave(worker.group);
      worker.group = this.#join(models, worker.carries);
    }
    for (const model of worker.models) {
      const offering = this.#byModel.get(model);
      offering?.delete(worker);
      if (offering?.size === 0) this.#byModel.delete(model);
    }
    worker.models = new Set(models);
    if (worker.provider !== this.#provider) return;
    for (const model of worker.models) {
      let offering = this.#byModel.get(model);
      if (offering === undefined) this.#byModel.set(model, (offering = new Set()));
      offering.add(worker);
      this.#expected.delete(model);
      this.#remember(model);
    }
  }

  /** Workers that may be asked for `model`, or for anything when it is absent; draining ones included. */
  offering(model: string | undefined): Iterable<CoreWorker> {
    if (model !== undefined) return this.#byModel.get(model) ?? [];
    return [...this.#workers.values()].filter((worker) => worker.provider === this.#provider);
  }

  wasOffered(model: string): boolean {
    return this.#onceOffered.has(model);
  }

  /** Whether workers are on their way here. */
  get isExpecting(): boolean {
    return this.#expected.size > 0;
  }

  /** Workers that offer these will be here in a moment; none if there are none. */
  expect(models: readonly string[]): void {
    this.#expected.clear();
    for (const model of models) {
      if (this.#byModel.has(model)) continue;
      this.#expected.add(model);
      this.#remember(model);
    }
  }

  /** Models that a client can ask for now, by name. */
  models(): string[] {
    const models = [...this.#expected];
    for (const [model, workers] of this.#byModel) {
      for (const worker of workers) {
        if (worker.draining) continue;
        models.push(model);
        break;
      }
    }
    return models.sort();
  }

  /** Workers that rest, and those whose rest is over and who have not served well since. */
  troubled(): Iterable<CoreWorker> {
    return this.#troubled;
  }

  /** Notes how a request went. Repeated failures send the worker to rest, with growing length. */
  noteOutcome(worker: CoreWorker, ok: boolean, now: number, random: () => number): void {
    if (ok) {
      worker.failures = 0;
      worker.restUntil = 0;
      this.#troubled.delete(worker);
      return;
    }
    worker.failures++;
    const rests = worker.failures - FAILURES_BEFORE_REST + 1;
    if (rests < 1) return;
    // Half of the wait is certain: with full jitter alone a broken worker could be back at once.
    const bound = Math.min(REST.capMs, REST.baseMs * 2 ** Math.min(rests - 1, 20));
    worker.restUntil = now + bound / 2 + backoffMs(rests, REST, random) / 2;
    this.#troubled.add(worker);
  }

  #join(models: readonly string[], carries: number): WorkerGroup {
    const key = JSON.stringify([carries, ...[...models].sort()]);
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = { key, members: 0, passedOver: { high: 0, normal: 0, low: 0 } };
      this.#groups.set(key, group);
    }
    group.members++;
    return group;
  }

  #leave(group: WorkerGroup): void {
    if (--group.members === 0) this.#groups.delete(group.key);
  }

  #remember(model: string): void {
    this.#onceOffered.delete(model);
    this.#onceOffered.add(model);
    if (this.#onceOffered.size <= MAX_REMEMBERED_MODELS) return;
    for (const oldest of this.#onceOffered) {
      this.#onceOffered.delete(oldest);
      return;
    }
  }
}

/** Requests that the worker is busy with, from this relay and from elsewhere. */
export function loadOf(worker: CoreWorker): number {
  return worker.held.size + worker.foreign;
}

export function hasRoom(worker: CoreWorker): boolean {
  return !worker.draining && !worker.suspended && loadOf(worker) < worker.maxConcurrent;
}
