/** A process that uses a store until it is killed, or as often as it is told. */
import { closeSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { openStore, type PendingOrder } from "../../src/tls/store/store.ts";

const [task = "", dir = "", leaseMs = "", ...rest] = process.argv.slice(2);
const lockTiming = { leaseMs: Number(leaseMs), tryMs: 20 };
const store = openStore(dir, systemClock, { lockTiming });
const say = (line: string): void => void writeSync(1, `${line}\n`);
const heard = async (): Promise<void> => void (await Bun.stdin.stream().getReader().read());

/** Creates the file, or says that another process is where it must not be. */
function enter(): void {
  const path = join(dir, "inside");
  try {
    const file = openSync(path, "wx");
    writeSync(file, String(process.pid));
    closeSync(file);
  } catch {
    const other = Number(readFileSync(path, "utf8"));
    try {
      // A killed process leaves the file; one that lives is in there with us.
      process.kill(other, 0);
      say(`OVERLAP ${process.pid} ${other}`);
    } catch {
      rmSync(path, { force: true });
      enter();
    }
  }
}

const tasks: Record<string, () => Promise<void>> = {
  /** Writes one certificate after the other, with all that goes with it. */
  async write() {
    const domain = rest[0] ?? "";
    const pairs = rest.slice(1).map((path) => JSON.parse(readFileSync(path, "utf8")));
    await store.prove();
    say("ready");
    for (let n = 1; ; n++) {
      const pair = pairs[n % pairs.length];
      const order: PendingOrder = { orderUrl: `o${n}`, keyPem: pair.keyPem, names: [domain], directoryUrl: "d", createdAt: n };
      await store.savePendingOrder(domain, order);
      await store.saveChallenge(`token${n}`, `token${n}.thumb`);
      await store.saveCertificate(domain, pair);
      await store.saveState(domain, { failures: n });
      await store.dropChallenge(`token${n}`);
      await store.dropPendingOrder(domain);
      say(`done ${n}`);
    }
  }, // prettier-ignore

  /** Takes a lock again and again. */
  async contend() {
    const rounds = Number(rest[0]);
    say("ready");
    for (let round = 0; round < rounds; round++) {
      await using lock = await store.lock("shared");
      enter();
      await Bun.sleep(Math.random() * 4);
      if (lock.lost.aborted) say("LOST");
      rmSync(join(dir, "inside"), { force: true });
      say("round");
    }
    say("end");
  },

  /** Holds a lock until it is told to give it back. */
  async hold() {
    say("ready");
    const lock = await store.lock("shared");
    lock.lost.addEventListener("abort", () => say("lost"));
    say("held");
    await heard();
    await lock.release();
    say("released");
  },
};

await tasks[task]?.();
process.exit(0);
