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
import { join } from "node:path";
import { Problem } from "../base/errors.ts";
import { ensureFolder, FILE_MODE, type WriteTools } from "./atomic-file.ts";
import { errorCode, type CreatedFile } from "./file-operations.ts";
import { fileProblem } from "./file-problem.ts";
import { hasEnded } from "./process-identity.ts";
import { safeFileName } from "./file-name.ts";
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
      const isSilent = now - seen.since >= timing.leaseMs;
      if (number === 0 || isSilent || isFree(readRecord(text), tools)) {
        const held = await HeldLock.take(tools, row, number + 1, timing);
        if (held !== undefined) return held;
      }
    }
    await pause(tools, timing.tryMs * (0.75 + Math.random() / 2), signal);
  }
}

function isFree(record: LockRecord | undefined, { owner }: WriteTools): boolean {
  return record !== undefined && (record.released || hasEnded(record, owner));
}

/** The files of one lock. */
class LockRow {
  readonly #tools: WriteTools;
  readonly #folder: string;
  readonly #prefix: string;

  constructor(tools: WriteTools, folder: string, prefix: string) {
    this.#tools = tools;
    this.#folder = folder;
    this.#prefix = `${prefix}.`;
  }

  path(number: number): string {
    return join(this.#folder, `${this.#prefix}${number}.lock`);
  }

  async #numbers(): Promise<number[]> {
    const names = await this.#tools.files.list(this.#folder);
    return names.flatMap((name) => {
      if (!name.startsWith(this.#prefix)) return [];
      const digits = /^([1-9]\d{0,14})\.lock$/.exec(name.slice(this.#prefix.length))?.[1];
      return digits === undefined ? [] : [Number(digits)];
    });
  }

  /** The number that counts; 0 if the lock was never held. */
  async highest(): Promise<number> {
    try {
      return Math.max(0, ...(await this.#numbers()));
    } catch (cause) {
      throw fileProblem("read", this.#folder, cause);
    }
  }

  /** `undefined` if there is no such file. */
  async text(number: number): Promise<string | undefined> {
    try {
      return await this.#tools.files.readFile(this.path(number));
    } catch (cause) {
      if (errorCode(cause) === "ENOENT") return undefined;
      throw fileProblem("read", this.path(number), cause);
    }
  }

  /** `undefined` if another process has it. */
  async create(number: number): Promise<CreatedFile | undefined> {
    try {
      return await this.#tools.files.createFile(this.path(number), FILE_MODE);
    } catch (cause) {
      // Windows says EPERM of a name whose file is being removed.
      const code = errorCode(cause);
      if (code === "EEXIST" || (code === "EPERM" && this.#tools.files.platform === "win32")) return undefined;
      throw fileProblem("write", this.path(number), cause);
    }
  }

  async removeUpTo(last: number): Promise<void> {
    for (const number of await this.#numbers()) {
      if (number <= last) await this.#tools.files.remove(this.path(number));
    }
  }
}

class HeldLock implements StoreLock {
  readonly #tools: WriteTools;
  readonly #row: LockRow;
  readonly #number: number;
  readonly #file: CreatedFile;
  readonly #timing: LockTiming;
  readonly #token = randomBytes(16).toString("hex");
  readonly #lost = new AbortController();
  #beats = 0;
  #lastBeatAt: number;
  /** Writes to the file, one after the other. */
  #work: Promise<void> = Promise.resolve();
  #timer: { cancel(): void } | undefined;
  #ended = false;

  private constructor(
    tools: WriteTools,
    row: LockRow,
    number: number,
    file: CreatedFile,
    timing: LockTiming,
  ) {
    this.#tools = tools;
    this.#row = row;
    this.#number = number;
    this.#file = file;
    this.#timing = timing;
    this.#lastBeatAt = tools.clock.now();
  }

  static async take(
    tools: WriteTools,
    row: LockRow,
    number: number,
    timing: LockTiming,
  ): Promise<HeldLock | undefined> {
    const file = await row.create(number);
    if (file === undefined) return undefined;
    const lock = new HeldLock(tools, row, number, file, timing);
    try {
      if (tools.files.platform !== "win32") await file.chmod(FILE_MODE);
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
    await this.#queue(async () => {
      try {
        await this.#file.write(releasedRecord(this.#token));
      } finally {
        await this.#file.close();
      }
    });
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
      if ((await this.#row.highest()) !== this.#number) return await this.#lose();
      await this.#write();
      this.#lastBeatAt = this.#tools.clock.now();
    } catch {
      // A disk that answers again in time has cost nothing.
      const silentMs = this.#tools.clock.now() - this.#lastBeatAt;
      if (silentMs >= this.#timing.leaseMs) return await this.#lose();
    }
    if (!this.#ended) this.#schedule();
  }

  async #write(): Promise<void> {
    const expiresAt = this.#tools.clock.wall() + this.#timing.leaseMs;
    this.#beats += 1;
    await this.#file.write(
      heldRecord({
        ...this.#tools.owner,
        hostname: hostname(),
        token: this.#token,
        beats: this.#beats,
        expiresAt: new Date(expiresAt).toISOString(),
      }),
    );
  }

  async #lose(): Promise<void> {
    if (this.#ended) return;
    this.#end();
    this.#lost.abort(
      new Problem(`Cannot keep the lock "${this.#row.path(this.#number)}": another process took it over`, {
        action: "Nothing, if this machine slept; else see whether its disk answers slowly",
      }),
    );
    await this.#file.close().catch(() => {});
  }
}

/** @throws the signal's reason */
async function pause({ clock }: WriteTools, ms: number, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve) => {
    const wake = (): void => {
      timer.cancel();
      signal?.removeEventListener("abort", wake);
      resolve();
    };
    const timer = clock.after(ms, wake);
    signal?.addEventListener("abort", wake);
  });
  signal?.throwIfAborted();
}
