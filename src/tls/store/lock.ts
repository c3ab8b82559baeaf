/**
 * Locks between processes that share a folder, also over a network.
 *
 * A lock is the row of files `<name>.1.lock`, `<name>.2.lock`, …; the one with the highest number counts.
 * Whoever finds it free creates the next number, which the system lets one process alone do, so two that
 * take over from a dead holder cannot both succeed. Nobody writes to another's file and nobody removes the
 * highest, so a holder that slept cannot undo what happened meanwhile: it finds a higher number, and knows.
 *
 * A holder counts up in its file for as long as it lives. It is taken for dead if its process has ended
 * on this host, or if its file stays as it is for a lease by the waiter's own monotonic clock: comparing
 * wall clocks would hand out a held lock whenever one of them jumps.
 */
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { errorCode, Problem } from "../../base/errors.ts";
import { wait } from "../../base/wait.ts";
import { ensureFolder, type WriteTools } from "./atomic-file.ts";
import { fileProblem } from "./file-problem.ts";
import { hasEnded } from "./process-identity.ts";
import { safeFileName } from "./file-name.ts";
import { LockRow } from "./lock-row.ts";
import { heldRecord, readRecord, releasedRecord, type LockRecord } from "./lock-record.ts";

/** A lock that is held. */
export interface StoreLock extends AsyncDisposable {
  /** Aborted when the lock may be another's, because this holder could not renew its lease. */
  readonly lost: AbortSignal;
  /** Gives the lock back; a second call does nothing. */
  release(): Promise<void>;
}

export interface LockTiming {
  /** How long a holder may be silent. */
  leaseMs: number;
  /** How often a waiter looks, on average. */
  tryMs: number;
}

/** Thirty seconds outlast a busy disk and a long garbage collection; the holder renews in a third of it. */
export const LOCK_TIMING: LockTiming = { leaseMs: 30_000, tryMs: 250 };

/**
 * How many old files stay. A slow process that saw number n may still create n + 1, which fails as long
 * as that file is there; and a folder's list that misses one file made during the reading has others.
 */
const KEPT_FILES = 8;

/**
 * Waits for the lock `name` in `folder`.
 *
 * @throws {Problem} if the folder cannot be used
 * @throws the signal's reason when it is aborted first
 */
export async function acquireLock(
  tools: WriteTools,
  folder: string,
  name: string,
  signal?: AbortSignal,
  timing: LockTiming = LOCK_TIMING,
): Promise<StoreLock> {
  const row = new LockRow(tools, folder, safeFileName(name));
  signal?.throwIfAborted();
  await ensureFolder(tools.files, folder);
  let seen: { text: string; number: number; since: number } | undefined;
  for (;;) {
    signal?.throwIfAborted();
    const number = await row.highest();
    const text = number === 0 ? "" : await row.text(number);
    // Gone between the two looks: there is a higher one by now.
    if (text !== undefined) {
      const now = tools.clock.now();
      if (seen?.number !== number || seen.text !== text) seen = { text, number, since: now };
      // A new file is written at once. Whoever is slower than this finds the higher number in time to
      // know that it has nothing; as a rule it was killed between the two.
      const isSilent = now - seen.since >= (text === "" ? timing.leaseMs / 15 : timing.leaseMs);
      if (number === 0 || isSilent || isFree(readRecord(text), tools)) {
        const held = await HeldLock.take(tools, row, number + 1, timing);
        if (held !== undefined) return held;
      }
    }
    await wait(tools.clock, timing.tryMs * (0.75 + Math.random() / 2), signal);
  }
}

function isFree(record: LockRecord | undefined, { owner }: WriteTools): boolean {
  return record !== undefined && (record.released || hasEnded(record, owner));
}

class HeldLock implements StoreLock {
  readonly #tools: WriteTools;
  readonly #row: LockRow;
  readonly #number: number;
  readonly #timing: LockTiming;
  readonly #token = randomBytes(16).toString("hex");
  readonly #lost = new AbortController();
  #beats = 0;
  #lastBeatAt: number;
  /** Writes to the file, one after the other. */
  #work: Promise<void> = Promise.resolve();
  #timer: { cancel(): void } | undefined;
  #ended = false;

  private constructor(tools: WriteTools, row: LockRow, number: number, timing: LockTiming) {
    this.#tools = tools;
    this.#row = row;
    this.#number = number;
    this.#timing = timing;
    this.#lastBeatAt = tools.clock.now();
  }

  static async take(
    tools: WriteTools,
    row: LockRow,
    number: number,
    timing: LockTiming,
  ): Promise<HeldLock | undefined> {
    if (!(await row.create(number))) return undefined;
    const lock = new HeldLock(tools, row, number, timing);
    try {
      await lock.#write();
      if ((await row.highest()) === number) {
        await row.removeUpTo(number - KEPT_FILES).catch(() => {});
        lock.#schedule();
        return lock;
      }
      await lock.release();
      return undefined;
    } catch (cause) {
      // A full disk leaves an empty file, which would stand for a holder until a lease has passed.
      await lock.release().catch(() => {});
      await tools.files.remove(row.path(number)).catch(() => {});
      throw fileProblem("write", row.path(number), cause);
    }
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async release(): Promise<void> {
    if (this.#ended) return await this.#work;
    this.#end();
    await this.#queue(async () => await this.#writeReleased());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  #end(): void {
    this.#ended = true;
    this.#timer?.cancel();
  }

  #queue(task: () => Promise<void>): Promise<void> {
    this.#work = this.#work.catch(() => {}).then(task);
    return this.#work;
  }

  #schedule(): void {
    this.#timer = this.#tools.clock.after(this.#timing.leaseMs / 3, () => {
      void this.#queue(() => this.#beat());
    });
  }

  /** Renews the lease, and looks whether it is still this lock's. */
  async #beat(): Promise<void> {
    if (this.#ended) return;
    try {
      if ((await this.#row.highest()) !== this.#number) return this.#lose();
      await this.#write();
      this.#lastBeatAt = this.#tools.clock.now();
    } catch {
      // A disk that answers again in time has cost nothing.
      const silentMs = this.#tools.clock.now() - this.#lastBeatAt;
      if (silentMs >= this.#timing.leaseMs) return this.#lose();
    }
    if (!this.#ended) this.#schedule();
  }

  /** A folder that is gone holds no lock. @throws {Problem} */
  async #writeReleased(): Promise<void> {
    try {
      await this.#row.write(this.#number, releasedRecord(this.#token));
    } catch (cause) {
      if (errorCode(cause) !== "ENOENT") throw fileProblem("write", this.#row.path(this.#number), cause);
    }
  }

  async #write(): Promise<void> {
    const expiresAt = this.#tools.clock.wall() + this.#timing.leaseMs;
    this.#beats += 1;
    await this.#row.write(
      this.#number,
      heldRecord({
        ...this.#tools.owner,
        hostname: hostname(),
        token: this.#token,
        beats: this.#beats,
        expiresAt: new Date(expiresAt).toISOString(),
      }),
    );
  }

  #lose(): void {
    if (this.#ended) return;
    this.#end();
    this.#lost.abort(
      new Problem(`Cannot keep the lock "${this.#row.path(this.#number)}": another process took it over`, {
        action: "Nothing, if this machine slept; else see whether its disk answers slowly",
      }),
    );
  }
}
