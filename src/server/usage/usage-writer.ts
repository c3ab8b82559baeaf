import { backoffMs } from "../../base/backoff.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import { formatBytes } from "../../base/bytes.ts";
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import { hasToldItself } from "../store/store-error.ts";
import type { UsageSpool } from "./usage-spool.ts";
import type { UsageRow, UsageStore } from "./usage-store.ts";

/** Longest time that a row waits for others, in ms. */
const GATHER_MS = 500;
const MAX_BATCH = 500;
/** Time that the database has for a batch before that is written to the spool as well, in ms. */
const PATIENCE_MS = 500;
/** Between two tries to write rows that neither takes, in ms. */
const HOLD_MS = 1_000;
/** Rows that are held if neither can be written. */
const MAX_HELD = 20_000;
const RETRY = { baseMs: 500, capMs: 10_000 };

/** What could not be stored. */
export interface UsageBacklog {
  /** Of rows that wait for the database. */
  bytes: number;
  /** Rows, since the start. */
  lost: number;
}

export interface WriterParts {
  store: Pick<UsageStore, "insertUsage">;
  spool: UsageSpool;
  clock: Clock;
  log: Log;
  /** In [0, 1). */
  random: () => number;
}

/**
 * Writes rows in batches, off the way of the requests. A row is in the database or in the spool within
 * `GATHER_MS + 2 * PATIENCE_MS`; what is in the spool follows when the database is back, with the same ids,
 * so that a row of which nobody knows whether it was stored is stored once.
 */
export class UsageWriter {
  readonly #parts: WriterParts;
  #held: UsageRow[] = [];
  #gathering: Timer | undefined;
  #writing: Promise<void> | undefined;
  /** The last thing that was asked of the spool: it does one after the other. */
  #spooling: Promise<unknown> = Promise.resolve();
  /** Why rows go to the spool; `undefined` while the database takes them. */
  #trouble: string | undefined;
  #retrying: Timer | undefined;
  /** What is in the spool is being moved to the database. */
  #storing = false;
  #retries = 0;
  /** Since the trouble began. */
  #lost = 0;
  #lostInAll = 0;
  #closed = false;

  constructor(parts: WriterParts) {
    this.#parts = parts;
  }

  /** Looks for what an earlier process has left, and begins to store it. Never rejects. */
  async start(): Promise<void> {
    const { spool, log } = this.#parts;
    try {
      await this.#alone(() => spool.open());
    } catch (thrown) {
      const fields = { file: spool.path, reason: messageOf(thrown) };
      return log.warn("The file for usage that cannot be stored cannot be used", fields);
    }
    if (spool.waiting === 0) return;
    this.#trouble = "an earlier run could not store it";
    void this.#storeSpooled();
  }

  add(row: UsageRow): void {
    this.#held.push(row);
    if (this.#held.length > MAX_HELD) this.#lose(this.#held.splice(0, MAX_BATCH).length);
    // More than that are there only if a batch is being written, or nothing takes one.
    if (this.#held.length === MAX_BATCH) this.#flush();
    else this.#gathering ??= this.#parts.clock.after(GATHER_MS, () => this.#flush());
  }

  /** Takes the rows of another process's file into its own. @throws if they cannot be read */
  async adopt(left: UsageSpool): Promise<void> {
    for (;;) {
      const page = await left.next();
      if (left.waiting === 0) return;
      if (page.rows.length > 0 && !(await this.#spool(page.rows)))
        this.#gathering ??= this.#parts.clock.after(HOLD_MS, () => this.#flush());
      await left.stored(page.end);
    }
  }

  /** Bytes of rows that wait in the file, and rows that nothing took. */
  backlog(): UsageBacklog {
    return { bytes: this.#parts.spool.waiting, lost: this.#lostInAll };
  }

  /** What an operator has to know. */
  warnings(): string[] {
    const { spool } = this.#parts;
    const warnings: string[] = [];
    if (this.#trouble !== undefined)
      warnings.push(`usage waits to be stored (${formatBytes(spool.waiting)}): ${this.#trouble}`);
    if (this.#lost > 0)
      warnings.push(
        `usage of ${this.#lost} requests is lost: neither the database nor ${spool.path} took it`,
      );
    return warnings;
  }

  /** Writes what is there, to the database or to the spool; nothing may be added after it. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#retrying?.cancel();
    await this.#writing;
    this.#flush();
    await this.#writing;
    await this.#spooling;
  }

  #flush(): void {
    this.#gathering?.cancel();
    this.#gathering = undefined;
    this.#writing ??= this.#writeHeld().finally(() => {
      this.#writing = undefined;
      if (this.#held.length > 0) this.#gathering ??= this.#parts.clock.after(HOLD_MS, () => this.#flush());
    });
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#spooling.then(work);
    this.#spooling = done.catch(() => {});
    return done;
  }

  async #writeHeld(): Promise<void> {
    while (this.#held.length > 0) {
      const batch = this.#held.splice(0, MAX_BATCH);
      if (this.#trouble === undefined && (await this.#store(batch))) continue;
      if (!(await this.#spool(batch))) return;
    }
  }

  /** @returns whether the database has taken the rows, in time */
  async #store(batch: readonly UsageRow[]): Promise<boolean> {
    const { store, clock } = this.#parts;
    const late = Promise.withResolvers<never>();
    const timer = clock.after(PATIENCE_MS, () => late.reject(new Error("the database takes long")));
    const stored = store.insertUsage(batch);
    // The batch goes to the spool if it is late; what becomes of it then is of no interest.
    stored.catch(() => {});
    try {
      await Promise.race([stored, late.promise]);
      return true;
    } catch (thrown) {
      this.#noteTrouble(thrown);
      return false;
    } finally {
      timer.cancel();
    }
  }

  #noteTrouble(thrown: unknown): void {
    const { log, spool } = this.#parts;
    this.#trouble = messageOf(thrown);
    const level = hasToldItself(thrown) ? "debug" : "warn";
    log[level]("Usage cannot be stored, and waits in a file", { file: spool.path, reason: this.#trouble });
    this.#retryLater();
  }

  /** @returns false if the rows are held for another try */
  async #spool(batch: UsageRow[]): Promise<boolean> {
    const { spool, log } = this.#parts;
    try {
      this.#lose(batch.length - (await this.#alone(() => spool.append(batch))));
      // The rest of the spool may have been stored while these were on their way into it.
      this.#trouble ??= "it has only just been written to the file";
      if (this.#retrying === undefined && !this.#storing) this.#retryLater();
      return true;
    } catch (thrown) {
      // The disk is full as well: they stay here, until there are too many.
      this.#held = [...batch, ...this.#held];
      log.debug("Usage cannot be written to its file", { reason: messageOf(thrown) });
      return false;
    }
  }

  #retryLater(): void {
    if (this.#closed) return;
    const { clock, random } = this.#parts;
    const delayMs = RETRY.baseMs + backoffMs(Math.min(++this.#retries, 30), RETRY, random);
    this.#retrying ??= clock.after(delayMs, () => {
      this.#retrying = undefined;
      void this.#storeSpooled();
    });
  }

  /** Moves what is in the spool to the database, page by page, and ends the trouble with the last. */
  async #storeSpooled(): Promise<void> {
    const { store, spool, log } = this.#parts;
    let rows = 0;
    this.#storing = true;
    try {
      // Rows that come meanwhile go to the spool, whatever time a page takes.
      for (;;) {
        const page = await this.#alone(() => spool.next());
        if (spool.waiting === 0) break;
        if (page.rows.length > 0) await store.insertUsage(page.rows);
        if (this.#closed) return;
        await this.#alone(() => spool.stored(page.end));
        rows += page.rows.length;
      }
      this.#trouble = undefined;
      this.#retries = 0;
      log.info("Usage is stored again", { rows, lost: this.#lost === 0 ? undefined : this.#lost });
      this.#lost = 0;
    } catch (thrown) {
      this.#trouble = messageOf(thrown);
      this.#retryLater();
    } finally {
      this.#storing = false;
    }
  }

  #lose(rows: number): void {
    if (rows === 0) return;
    if (this.#lost === 0)
      this.#parts.log.error("Usage is lost: neither the database nor the file for it has room", {
        file: this.#parts.spool.path,
      });
    this.#lost += rows;
    this.#lostInAll += rows;
  }
}
