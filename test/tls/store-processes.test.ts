import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { openStore } from "../../src/tls/store/store.ts";
import { DOMAIN, filesBelow, otherPair, pair, storeFolder, warnings } from "./store-folder.ts";

/** No test waits for so long. */
const LONG_MS = 600_000;

interface Child extends Disposable {
  pid: number;
  lines: string[];
  /** Ends when a line begins so; fails if the process ends first. */
  line(start: string): Promise<void>;
  tell(): void;
  signal(name: NodeJS.Signals): void;
  ended: Promise<void>;
}

/** @param leaseMs long enough that a busy machine cuts none short where a test is not about that */
function startChild(task: string, dir: string, leaseMs: number, ...args: string[]): Child {
  const lines: string[] = [];
  const wakes = new Set<() => void>();
  let isOver = false;
  const child = Bun.spawn(
    [process.execPath, join(import.meta.dir, "store-child.ts"), task, dir, String(leaseMs), ...args],
    {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    },
  );
  const wake = (): void => {
    for (const one of wakes) one();
    wakes.clear();
  };
  const reading = (async () => {
    let rest = "";
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + chunk).split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts);
      wake();
    }
    isOver = true;
    wake();
  })();
  return {
    pid: child.pid,
    lines,
    async line(start) {
      while (!lines.some((line) => line.startsWith(start))) {
        if (isOver) throw new Error(`The process ended without "${start}": ${lines.join(", ")}`);
        await new Promise<void>((resolve) => void wakes.add(resolve));
      }
    },
    tell() {
      void child.stdin.write("go\n");
      void child.stdin.flush();
    },
    signal: (name) => child.kill(name),
    ended: (async () => {
      await reading;
      await child.exited;
    })(),
    [Symbol.dispose]: () => child.kill("SIGKILL"),
  };
}

describe("kill -9", () => {
  test("at any moment leaves a store that the next process reads and goes on with", async () => {
    using folder = storeFolder();
    const inputs = join(folder.dir, "../..");
    for (const [name, content] of Object.entries({ a: pair, b: otherPair })) {
      writeFileSync(join(inputs, name), JSON.stringify(content));
    }
    const seen = new Set<string>();
    for (let round = 0; round < 25; round++) {
      using child = startChild("write", folder.dir, LONG_MS, DOMAIN, join(inputs, "a"), join(inputs, "b"));
      await child.line(round % 2 === 0 ? "ready" : "done 1");
      // Any moment will do, so chance picks it.
      await Bun.sleep(Math.random() * 25);
      child.signal("SIGKILL");
      await child.ended;

      const { log, lines } = warnings();
      const store = openStore(folder.dir, systemClock, { log });
      expect(await store.domains()).toEqual(existsSync(join(folder.dir, DOMAIN)) ? [DOMAIN] : []);
      const found = await store.certificate(DOMAIN);
      const order = await store.pendingOrder(DOMAIN);
      await store.state(DOMAIN);
      if (found !== undefined) expect([pair, otherPair]).toContainEqual(found);
      expect(filesBelow(folder.dir).filter((name) => /tmp|broken|probe/.test(name))).toEqual([]);
      if (found !== undefined) {
        const copy = (name: string): string => readFileSync(join(folder.dir, DOMAIN, name), "utf8");
        expect([copy("fullchain.pem"), copy("privkey.pem")]).toEqual([found.chainPem, found.keyPem]);
      }
      // The last order's key is in the order or in the certificate.
      if (child.lines.length > 1) expect(order?.keyPem ?? found?.keyPem).toBeDefined();
      expect(lines).toEqual([]);
      seen.add(`${order === undefined ? "no order" : "order"}, ${found?.keyPem === pair.keyPem ? "a" : "b"}`);
    }
    expect(seen.size).toBeGreaterThan(1);
  }, 60_000);

  test("frees the lock that the process held at once", async () => {
    using folder = storeFolder();
    using holder = startChild("hold", folder.dir, LONG_MS);
    await holder.line("held");
    using waiter = startChild("hold", folder.dir, LONG_MS);
    await waiter.line("ready");
    holder.signal("SIGKILL");
    await holder.ended;
    await waiter.line("held");
    waiter.tell();
    await waiter.line("released");
    await (await openStore(folder.dir, systemClock).lock("shared")).release();
  });
});

describe("A lock between processes", () => {
  test("is held by one at a time, also while some of them are killed", async () => {
    using folder = storeFolder();
    mkdirSync(folder.dir, { recursive: true });
    const children = Array.from({ length: 6 }, () => startChild("contend", folder.dir, 5_000, "25"));
    const killed = children.slice(0, 3);
    await Promise.all(children.map((child) => child.line("ready")));
    for (const child of killed) {
      await child.line("round");
      child.signal("SIGKILL");
      await child.ended;
    }
    await Promise.all(children.map((child) => child.ended));
    const said = children.flatMap((child) => child.lines);
    expect(said.filter((line) => line.startsWith("OVERLAP") || line === "LOST")).toEqual([]);
    expect(children.slice(3).map((child) => child.lines.at(-1))).toEqual(["end", "end", "end"]);
    expect(said.filter((line) => line === "round").length).toBeGreaterThanOrEqual(75);
  }, 60_000);

  // A stopped process is one whose machine sleeps; Windows has no signal for it.
  if (process.platform !== "win32") {
    test("goes to exactly one of several when its holder sleeps, and the holder knows when it wakes", async () => {
      using folder = storeFolder();
      using holder = startChild("hold", folder.dir, 2_000);
      await holder.line("held");
      const takers = Array.from({ length: 4 }, () => startChild("hold", folder.dir, 2_000));
      try {
        await Promise.all(takers.map((taker) => taker.line("ready")));
        holder.signal("SIGSTOP");
        for (let left = takers.length; left > 0; left--) {
          const waiting = takers.filter(({ lines }) => !lines.includes("released"));
          await Promise.race(waiting.map((taker) => taker.line("held")));
          const inside = waiting.filter(({ lines }) => lines.includes("held"));
          expect(inside).toHaveLength(1);
          inside[0]?.tell();
          await inside[0]?.line("released");
        }
        holder.signal("SIGCONT");
        await holder.line("lost");
        expect(takers.flatMap(({ lines }) => lines).filter((line) => line === "lost")).toEqual([]);
      } finally {
        for (const taker of takers) taker[Symbol.dispose]();
      }
    }, 30_000);
  }
});
