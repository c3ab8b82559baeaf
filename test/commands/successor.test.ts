import { describe, expect, test } from "bun:test";
import { startSuccessor, type Successor } from "../../src/commands/successor.ts";
import { ManualClock } from "../support/manual-clock.ts";

const HERITAGE = { ports: { plain: 41_000 }, models: ["m"], generation: 1 };

/** What a successor does, as the text of a program. */
const doing = (script: string): string[] => [process.execPath, "-e", script];

function start(command: string[], signal = new AbortController().signal) {
  const clock = new ManualClock();
  const { promise: ended, resolve } = Promise.withResolvers<string>();
  const successor = startSuccessor({ clock, heritage: HERITAGE, signal, command, ended: resolve });
  return { clock, ended, successor };
}

const reason = (successor: Promise<Successor>) =>
  successor.then(
    () => "it serves",
    (error: unknown) => String(error),
  );

const HELLO = `process.send({ kind: "hello" });`;

describe("A successor", () => {
  test("is told what it is to know, and counts when it says that it serves", async () => {
    const wants = JSON.stringify({ kind: "heritage", ...HERITAGE });
    const { successor } = start(
      doing(`process.on("message", (given) => {
        if (JSON.stringify(given) === ${JSON.stringify(wants)}) process.send({ kind: "ready" });
        if (given.kind === "released") process.exit(0);
      }); ${HELLO}`),
    );
    const served = await successor;
    expect(served.pid).toBeGreaterThan(0);
    served.released();
  });

  test("is told of what it does not know, by a process of another version, without harm", async () => {
    const { successor } = start(
      doing(`process.send(null); process.send("x"); process.send({ kind: "news" }); process.send({ kind: "ready" });
       setInterval(() => {}, 1000); process.on("disconnect", () => process.exit()); process.on("message", () => {});`),
    );
    process.kill((await successor).pid, "SIGKILL");
  });

  test("is ended if it does not serve within 30 s", async () => {
    const { clock, successor } = start(doing(`${HELLO} setInterval(() => {}, 1000)`));
    const failed = reason(successor);
    clock.advance(29_999);
    clock.advance(1);
    expect(await failed).toContain("Cannot hand over to another process: it did not serve within 30 s");
    expect(clock.pending).toEqual([]);
  });

  test("is ended if this process is to stop", async () => {
    const stopping = new AbortController();
    const { clock, successor } = start(doing(`${HELLO} setInterval(() => {}, 1000)`), stopping.signal);
    const failed = reason(successor);
    stopping.abort();
    expect(await failed).toContain("this one is to stop");
    expect(clock.pending).toEqual([]);
  });

  test("is not started in vain if this process is to stop already", async () => {
    // Whoever started that would be told of no such program.
    const { successor } = start(["/nowhere/modelrelay"], AbortSignal.abort());
    expect(await reason(successor)).toContain("this one is to stop");
  });

  test.each([
    ["process.exit(3)", "it ended with exit code 3 before it served"],
    ["process.kill(process.pid, 'SIGKILL')", "it was ended by signal SIGKILL before it served"],
  ])("that does %s instead is told of", async (script, told) => {
    expect(await reason(start(doing(script)).successor)).toContain(told);
  });

  test("that ends after it has taken over is told of as well", async () => {
    const { ended, successor } = start(
      doing(`process.send({ kind: "ready" }); process.on("message", () => process.exit(4));`),
    );
    (await successor).released();
    expect(await ended).toBe("ended with exit code 4");
  });
});
