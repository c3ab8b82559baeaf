import { describe, expect, test } from "bun:test";
import {
  countdown,
  createProgress,
  downloadParts,
  drainParts,
  fitParts,
  type ProgressSurface,
} from "../../src/base/progress.ts";
import { silentLog } from "../../src/base/log.ts";
import { createStageLog, showDrain, showStages } from "../../src/commands/progress.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { screenOf, startOnTerminal } from "../support/on-terminal.ts";

/** A terminal's line that keeps everything that was drawn on it. */
class Line implements ProgressSurface {
  columns = 80;
  drawn: string[] = [];
  covered: (() => void) | undefined;

  draw(text: string): void {
    this.drawn.push(text);
  }

  clear(): void {
    this.drawn.push("");
  }
}

function shownOnLine() {
  const clock = new ManualClock();
  const line = new Line();
  const said: string[] = [];
  return { clock, line, said, progress: createProgress(clock, line, (text) => said.push(text)) };
}

const STATUS_LINE = new URL("../../src/base/status-line.ts", import.meta.url).pathname;
const PROGRESS = new URL("../../src/base/progress.ts", import.meta.url).pathname;
const CLOCK = new URL("../../src/base/clock.ts", import.meta.url).pathname;

/** Shows a text that never changes, and writes a line where it stands. */
const COVERED = `
  import { createProgress } from ${JSON.stringify(PROGRESS)};
  import { systemClock } from ${JSON.stringify(CLOCK)};
  import { statusLine, writeLines } from ${JSON.stringify(STATUS_LINE)};
  const progress = createProgress(systemClock, statusLine, () => {});
  progress.show(["the same for ever"]);
  writeLines("a line\\n");
  process.once("SIGTERM", () => process.exit(3));
  setInterval(() => {}, 1_000);
`;

describe("Progress", () => {
  test.skipIf(process.platform === "win32")(
    "comes back below a line that took its place, and is gone after the end",
    async () => {
      await using shown = startOnTerminal([process.execPath, "-e", COVERED]);
      await shown.until(/a line\r\n\r.\[Kthe same for ever/);
      expect(screenOf(shown.written)).toEqual(["a line", "the same for ever"]);
      shown.kill("SIGTERM");
      expect(await shown.exited).toBe(3);
      expect(screenOf(shown.written).join("\n")).not.toContain("the same");
    },
  );

  test("of a drain is told where something runs, and until the last answers have left", async () => {
    const clock = new ManualClock();
    const lines: string[] = [];
    const log = { ...silentLog, info: (message: string) => void lines.push(message) };
    const drained = Promise.withResolvers<void>();
    let requests = 0;
    const drain = { clock, log, logFormat: "pretty", env: { TERM: "dumb" }, timeoutMs: 30_000 } as const;
    const shown = showDrain(drained.promise, { ...drain, running: () => requests });
    clock.advance(5_000);
    expect(lines).toEqual([]);
    requests = 2;
    clock.advance(10_400);
    requests = 0;
    clock.advance(10_000);
    drained.resolve();
    await shown;
    expect([lines, clock.pending]).toEqual([
      ["2 requests left, 25 s", "2 requests left, 15 s", "The last answers leave"],
      [],
    ]);
  });

  test("of stages tells the one that the log told last, and not what it has told itself", async () => {
    const clock = new ManualClock();
    const lines: string[] = [];
    const log = createStageLog({ ...silentLog, info: (message) => void lines.push(message) });
    const work = Promise.withResolvers<string>();
    const shown = showStages("a.example", work.promise, { clock, log, env: { TERM: "dumb" } });
    log.info("Placed an order");
    clock.advance(22_000);
    work.resolve("done");
    expect(await shown).toBe("done");
    expect([lines, clock.pending]).toEqual([
      [
        "Placed an order",
        "a.example: Placed an order, 1 s",
        "a.example: Placed an order, 11 s",
        "a.example: Placed an order, 21 s",
      ],
      [],
    ]);
  });

  test("a row holds the parts that fit, the most important first, and its last cell stays free", () => {
    const parts = ["12 requests left", "18 s", "and more"];
    expect([80, 32, 31, 23, 22, 17].map((columns) => fitParts(parts, columns))).toEqual([
      "12 requests left, 18 s, and more",
      "12 requests left, 18 s",
      "12 requests left, 18 s",
      "12 requests left, 18 s",
      "12 requests left",
      "12 requests left",
    ]);
  });

  test("a row that is too narrow for the first part shows that it is cut", () => {
    expect([16, 8, 2, 1, 0].map((columns) => fitParts(["12 requests left", "18 s"], columns))).toEqual([
      "12 requests le…",
      "12 req…",
      "…",
      "…",
      "…",
    ]);
  });

  test("what others named cannot move the cursor", () => {
    expect(fitParts(["a\u001b[2Jb", "c\nd"], 80)).toBe("a?[2Jb, c?d");
  });

  test("a drain tells how many are left and for how long", () => {
    expect([drainParts(12, 18_000), drainParts(1, 500), drainParts(0, 0)]).toEqual([
      ["12 requests left", "18 s"],
      ["1 request left", "1 s"],
      ["The last answers leave"],
    ]);
    expect([0, -5, 1, 119_000, 119_001, 600_000].map(countdown)).toEqual([
      "0 s",
      "0 s",
      "1 s",
      "119 s",
      "2 min",
      "10 min",
    ]);
  });

  test("a download tells percent, sizes, speed and time, as far as they are known", () => {
    const what = "modelrelay 0.2.0";
    const MiB = 1024 * 1024;
    const of = (received: number, total: number | undefined, elapsedMs: number) =>
      downloadParts({ what, received, total, elapsedMs }).join(", ");
    expect(of(0, 40 * MiB, 10)).toBe("Downloading modelrelay 0.2.0, 0 %, 0 B of 40 MiB");
    expect(of(10 * MiB, 40 * MiB, 5_000)).toBe(
      "Downloading modelrelay 0.2.0, 25 %, 10 MiB of 40 MiB, 2 MiB/s, 15 s left",
    );
    expect(of(10 * MiB, undefined, 5_000)).toBe("Downloading modelrelay 0.2.0, 10 MiB, 2 MiB/s");
    expect(of(50 * MiB, 40 * MiB, 100)).toBe("Downloading modelrelay 0.2.0, 100 %, 50 MiB of 40 MiB");
  });

  test("a line is drawn at once, then at most ten times a second, with the latest", () => {
    const { clock, line, progress } = shownOnLine();
    for (let step = 0; step <= 1_000; step++) {
      progress.show([`step ${step}`]);
      clock.advance(1);
    }
    expect(line.drawn[0]).toBe("step 0");
    expect(line.drawn.length).toBe(11);
    clock.advance(100);
    expect(line.drawn.at(-1)).toBe("step 1000");
    progress[Symbol.dispose]();
    expect([line.drawn.at(-1), clock.pending]).toEqual(["", []]);
  });

  test("what has not changed is not drawn again, unless something covered it", () => {
    const { clock, line, progress } = shownOnLine();
    progress.show(["same"]);
    clock.advance(500);
    progress.show(["same"]);
    clock.advance(500);
    expect(line.drawn).toEqual(["same"]);
    for (let lines = 0; lines < 50; lines++) {
      line.covered?.();
      clock.advance(10);
    }
    clock.advance(100);
    expect(line.drawn.length).toBeLessThanOrEqual(7);
    expect(line.drawn.length).toBeGreaterThan(4);
  });

  test("the width is asked for each time", () => {
    const { clock, line, progress } = shownOnLine();
    progress.show(["one", "two"]);
    clock.advance(100);
    line.columns = 6;
    progress.show(["ten", "two"]);
    expect(line.drawn).toEqual(["one, two", "ten"]);
  });

  test("nothing is drawn after the end", () => {
    const { clock, line, progress } = shownOnLine();
    progress.show(["one"]);
    progress.show(["two"]);
    progress[Symbol.dispose]();
    clock.advance(1_000);
    progress.show(["three"]);
    clock.advance(1_000);
    expect([line.drawn, line.covered, clock.pending]).toEqual([["one", ""], undefined, []]);
    const other = shownOnLine();
    other.progress[Symbol.dispose]();
    other.progress.show(["late"]);
    expect(other.line.drawn).toEqual([""]);
  });

  test("without a terminal a whole line is said at once, and then every ten seconds", () => {
    const clock = new ManualClock();
    const said: string[] = [];
    const progress = createProgress(clock, undefined, (text) => said.push(text));
    for (let left = 300; left > 0; left--) {
      progress.show(drainParts(2, left * 100));
      clock.advance(100);
    }
    progress[Symbol.dispose]();
    expect(said).toEqual(["2 requests left, 30 s", "2 requests left, 20 s", "2 requests left, 10 s"]);
  });
});
