import { expect } from "bun:test";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FileOperations } from "../../src/tls/store/file-operations.ts";
import { safeFileName } from "../../src/tls/store/file-name.ts";
import { heldRecord } from "../../src/tls/store/lock-record.ts";
import { LOCK_TIMING } from "../../src/tls/store/lock.ts";
import { thisProcess } from "../../src/tls/store/process-identity.ts";
import { openStore, type CertificateStore } from "../../src/tls/store/store.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { storeFolder } from "./store-folder.ts";
import { countedFiles } from "./stopping-files.ts";

export const NAME = "relay.example.com";
export const { leaseMs, tryMs } = LOCK_TIMING;

/** A clock whose wall time can be set, as an administrator does. */
export class JumpingClock extends ManualClock {
  jump = 0;
  override wall(): number {
    return super.wall() + this.jump;
  }
}

export interface Rig extends Disposable {
  dir: string;
  files: FileOperations;
  locks: string;
  clock: JumpingClock;
  /** Lets what is under way with files end. */
  settle: () => Promise<void>;
  store(options?: { files?: FileOperations; host?: string }): CertificateStore;
}

export function rig(): Rig {
  const folder = storeFolder();
  const clock = new JumpingClock();
  const counted = countedFiles();
  return {
    dir: folder.dir,
    files: counted.files,
    locks: join(folder.dir, "_locks"),
    clock,
    settle: counted.idle,
    store: ({ files = counted.files, host } = {}) =>
      openStore(folder.dir, clock, {
        files,
        ...(host !== undefined && { process: { ...thisProcess(), host } }),
      }),
    [Symbol.dispose]: folder[Symbol.dispose],
  };
}

/** Moves the clock in small steps until the work has ended. @returns how far it went, in ms */
export async function advanceUntil(
  { clock, settle }: Rig,
  work: Promise<unknown>,
  limitMs = 10 * leaseMs,
): Promise<number> {
  const progress = { isDone: false };
  const end = (): void => void (progress.isDone = true);
  work.then(end, end);
  const start = clock.now();
  for (;;) {
    await settle();
    const passed = clock.now() - start;
    if (progress.isDone) return passed;
    if (passed >= limitMs) throw new Error(`Not done after ${limitMs} ms`);
    clock.advance(tryMs);
  }
}

/** Moves the clock, and fails if the work ends meanwhile. */
export async function advanceWithout(
  { clock, settle }: Rig,
  work: Promise<unknown>,
  ms: number,
): Promise<void> {
  const progress = { isDone: false };
  void work.then(() => (progress.isDone = true));
  for (let at = 0; at < ms; at += tryMs * 4) {
    clock.advance(tryMs * 4);
    await settle();
    expect(progress.isDone).toBe(false);
  }
}

/** A lock's file as a process leaves it that is killed. */
export function leaveLock(
  { locks }: Rig,
  holder: { host: string; pid: number; startedAt?: string | undefined },
): void {
  mkdirSync(locks, { recursive: true });
  const record = heldRecord({
    ...holder,
    hostname: "h",
    token: "t",
    beats: 4,
    expiresAt: "2000-01-01T00:00:00Z",
  });
  writeFileSync(join(locks, `${safeFileName(NAME)}.1.lock`), record);
}

export const numbers = ({ locks }: Rig): number[] =>
  readdirSync(locks)
    .map((name) => Number(name.split(".").at(-2)))
    .sort((a, b) => a - b);
