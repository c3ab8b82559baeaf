import { isMainThread, Worker, workerData } from "node:worker_threads";
import { parseArgs } from "node:util";
import { seedOf } from "../test/fuzz/random.ts";
import { TARGETS, type TargetName } from "../test/fuzz/targets.ts";

// bun scripts/fuzz.ts [--target decoder|channel|relay|worker|response] [--runs N] [--seed S] [--only RUN]
//
// Feeds any bytes at all to the parts of the link that read what a peer sends. Each run has a seed of its
// own, so that --only repeats one of them. Exits 1 at the first promise that does not hold.

/** A run that has taken this long will not end. */
const HANGS_MS = 20_000;
/** A run this slow, and again when it is repeated, does something that grows with what it is sent. */
const SLOW_MS = 250;
/** Memory that is left over when a target is done. */
const LEFT_OVER = 64 * 1024 * 1024;

interface Task {
  target: TargetName;
  seed: number;
  first: number;
  runs: number;
  /** Runs begun, for whoever watches. */
  progress: Int32Array;
}

function timed(target: TargetName, seed: number): number {
  const begun = performance.now();
  TARGETS[target](seed);
  return performance.now() - begun;
}

/** @returns MiB */
function memory(): number {
  Bun.gc(true);
  return process.memoryUsage().rss / 1_048_576;
}

function work({ target, seed, first, runs, progress }: Task): void {
  function begin(run: number): number {
    progress[0] = run;
    try {
      return timed(target, seedOf(seed, run));
    } catch (error) {
      const again = `bun scripts/fuzz.ts --target ${target} --seed ${seed} --only ${run}`;
      throw new Error(`Run ${run} of ${target} with seed ${seed} failed; again with: ${again}`, {
        cause: error,
      });
    }
  }

  // What is compiled and allocated once is not counted.
  for (let run = first; run < first + Math.min(runs, 1_000); run++) begin(run);
  const before = memory();
  const begun = performance.now();
  let slowest = { run: first, ms: 0 };
  let peak = before;
  for (let run = first; run < first + runs; run++) {
    const ms = begin(run);
    if (ms > slowest.ms) slowest = { run, ms };
    // What the machine was busy with otherwise does not come twice.
    if (ms > SLOW_MS && begin(run) > SLOW_MS)
      throw new Error(`Run ${run} of ${target} with seed ${seed} takes ${Math.round(ms)} ms, each time`);
    if (run % 50_000 === 0) peak = Math.max(peak, process.memoryUsage().rss / 1_048_576);
  }
  const secs = (performance.now() - begun) / 1_000;
  const after = memory();
  console.log(
    `${target}: ${runs} runs with seed ${seed} in ${secs.toFixed(1)} s (${Math.round(runs / secs)} a second), ` +
      `slowest ${slowest.ms.toFixed(1)} ms (run ${slowest.run}); ` +
      `memory ${before.toFixed(0)} MiB before, ${peak.toFixed(0)} at most, ${after.toFixed(0)} after`,
  );
  if ((after - before) * 1_048_576 > LEFT_OVER) throw new Error(`${target} holds memory when it is done`);
}

async function watch(task: Task): Promise<void> {
  const worker = new Worker(new URL(import.meta.url), { workerData: task });
  let last = -1;
  const timer = setInterval(() => {
    const run = task.progress[0]!;
    if (run === last) {
      console.error(
        `Run ${run} of ${task.target} with seed ${task.seed} does not end within ${HANGS_MS / 1_000} s`,
      );
      process.exit(1);
    }
    last = run;
  }, HANGS_MS);
  try {
    await new Promise<void>((resolve, reject) => {
      worker.on("error", reject);
      worker.on("exit", (code) =>
        code === 0 ? resolve() : reject(new Error(`It ended with exit code ${code}`)),
      );
    });
  } finally {
    clearInterval(timer);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      target: { type: "string", multiple: true },
      runs: { type: "string", default: "100000" },
      seed: { type: "string", default: String(Date.now() % 1_000_000) },
      only: { type: "string" },
    },
  });
  const names = (values.target ?? Object.keys(TARGETS)) as TargetName[];
  const [runs, seed, only] = [Number(values.runs), Number(values.seed), Number(values.only ?? 0)];
  const unknown = names.find((name) => !(name in TARGETS));
  if (unknown !== undefined || ![runs, seed, only].every((number) => Number.isSafeInteger(number))) {
    console.error(
      unknown === undefined
        ? "Cannot fuzz: --runs, --seed and --only take whole numbers"
        : `Cannot fuzz "${unknown}": targets are ${Object.keys(TARGETS).join(", ")}`,
    );
    process.exit(2);
  }
  for (const target of names) {
    const progress = new Int32Array(new SharedArrayBuffer(4));
    progress[0] = -1;
    if (values.only !== undefined) TARGETS[target](seedOf(seed, only));
    else await watch({ target, seed, first: 0, runs, progress });
  }
}

if (isMainThread) await main();
else work(workerData as Task);
