import { backoffMs } from "../../base/backoff.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { ByteBudget } from "../byte-budget.ts";
import { hasToldItself } from "../store/store-error.ts";
import type { Recorded } from "./body-recorder.ts";
import type { BodyStore, KeptBodies } from "./body-store.ts";

/** Longest time that bodies wait for others, in ms. */
const GATHER_MS = 500;
/** Of one message to the store's thread, but for one that is larger alone: a MiB takes the relay's thread 1 to 3 ms (2026-11). */
const BATCH_BYTES = 1024 * 1024;
const BATCH_ROWS = 200;
const RETRY = { baseMs: 1_000, capMs: 10_000 };

export interface BodyWriterParts {
  store: Pick<BodyStore, "insertBodies">;
  /** What waits is taken from it already. */
  budget: ByteBudget;
  clock: Clock;
  log: Log;
  /** In [0, 1). */
  random: () => number;
}

interface Waiting {
  bodies: KeptBodies;
  held: number;
}

/**
 * Writes bodies in batches, off the way of the requests. While the database takes none they wait in memory,
 * as far as the budget goes, and nowhere else: what finds no room is lost, and counted.
 */
export class BodyWriter {
  readonly #parts: BodyWriterParts;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  /** Gathers, or waits for the database to come back. */
  #timer: Timer | undefined;
  #writing: Promise<void> | undefined;
  /** Why the database takes none; `undefined` while it does. */
  #trouble: string | undefined;
  #retries = 0;
  #lost = 0;
  #lostInAll = 0;

  constructor(parts: BodyWriterParts) {
    this.#parts = parts;
  }

  add(id: string, at: number, { request, answer, held }: Recorded): void {
    this.#waiting.push({ bodies: { id, at, request, answer }, held });
    this.#waitingBytes += held;
    if (this.#waitingBytes >= BATCH_BYTES && this.#trouble === undefined) this.#flush();
    else this.#timer ??= this.#parts.clock.after(GATHER_MS, () => this.#flush());
  }

  /** There was no room for the bodies of a request. */
  lose(): void {
    if (this.#lost === 0)
      this.#parts.log.error("Bodies of requests are lost: the memory for those that wait is used up");
    this.#lost++;
    this.#lostInAll++;
  }

  /** Requests whose bodies found no room, since the start. */
  get lost(): number {
    return this.#lostInAll;
  }

  /** What an operator has to know. */
  warnings(): string[] {
    const warnings: string[] = [];
    if (this.#trouble !== undefined)
      warnings.push(`bodies of ${this.#waiting.length} requests wait to be stored: ${this.#trouble}`);
    if (this.#lost > 0) warnings.push(`bodies of ${this.#lost} requests are lost`);
    return warnings;
  }

  /** Writes what waits, if the database takes it; nothing may be added after it. */
  async close(): Promise<void> {
    await this.#writing;
    // One that has just failed is not waited for again.
    if (this.#trouble === undefined) this.#flush();
    await this.#writing;
    this.#timer?.cancel();
    if (this.#waiting.length === 0) return;
    const requests = this.#waiting.length;
    this.#parts.log.warn("Bodies of requests could not be stored before the end", { requests });
    this.#take(requests);
  }

  #flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined;
    });
  }

  async #writeAll(): Promise<void> {
    const { store, clock, log, random } = this.#parts;
    let requests = 0;
    while (this.#waiting.length > 0) {
      const rows = this.#nextBatch();
      const batch = this.#waiting.slice(0, rows).map(({ bodies }) => bodies);
      try {
        await store.insertBodies(batch);
      } catch (thrown) {
        const reason = messageOf(thrown);
        const level = hasToldItself(thrown) ? "debug" : "warn";
        if (this.#trouble === undefined)
          log[level]("Bodies of requests cannot be stored, and wait in memory", { reason });
        this.#trouble = reason;
        const delayMs = RETRY.baseMs + backoffMs(Math.min(++this.#retries, 30), RETRY, random);
        this.#timer?.cancel();
        this.#timer = clock.after(delayMs, () => this.#flush());
        return;
      }
      this.#take(rows);
      requests += rows;
    }
    if (this.#trouble === undefined && this.#lost === 0) return;
    log.info("Bodies of requests are stored again", { requests, lost: this.#lost });
    this.#trouble = undefined;
    this.#retries = 0;
    this.#lost = 0;
  }

  /** How many go with the next message. */
  #nextBatch(): number {
    let rows = 0;
    let bytes = 0;
    for (const { held } of this.#waiting) {
      bytes += held;
      if (rows > 0 && (bytes > BATCH_BYTES || rows === BATCH_ROWS)) break;
      rows++;
    }
    return rows;
  }

  /** Those are stored, or let go of. */
  #take(rows: number): void {
    for (const { held } of this.#waiting.splice(0, rows)) {
      this.#waitingBytes -= held;
      this.#parts.budget.give(held);
    }
  }
}
