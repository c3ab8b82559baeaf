import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { formatDuration } from "../src/base/duration.ts";
import { addTotals, readReport, totalsLine, type Totals } from "./junit.ts";

// bun run check: everything that must hold before a change is shared. Every step runs, whatever the ones
// before it said. --fix writes the format instead of checking it; words after it choose test files.

const root = join(import.meta.dir, "..");
const bun = process.execPath;

/** For all steps together, so that a run that hangs still says where. */
const LIMIT_MS = 38 * 60_000;
/** The tests start processes and real servers, on machines that may be busy with other things. */
const TEST_TIMEOUT_MS = 30_000;

const started = Number(process.env["MODELRELAY_CHECK_STARTED"] ?? Date.now());
const { values, positionals } = parseArgs({
  options: { fix: { type: "boolean", default: false } },
  allowPositionals: true,
});

let running: Bun.Subprocess | undefined;
let outOfTime = false;

/** Ends the running step and whatever it started: each step leads a process group of its own. */
function killStep(signal: NodeJS.Signals): void {
  if (running === undefined) return;
  try {
    process.kill(-running.pid, signal);
  } catch {
    // No process groups on Windows, or it has just ended.
    running.kill(signal);
  }
}

async function run(command: string[], env: Record<string, string> = {}): Promise<number> {
  if (outOfTime) return 1;
  running = Bun.spawn(command, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ["ignore", "inherit", "inherit"],
    detached: process.platform !== "win32",
  });
  const code = await running.exited;
  running = undefined;
  return code;
}

interface Step {
  title: string;
  run(): Promise<Totals>;
}

/** A step that passes or fails as a whole, and counts as one. */
function single(title: string, ...command: string[]): Step {
  return {
    title,
    run: async () =>
      (await run(command)) === 0
        ? { passed: 1, failed: 0, skipped: 0 }
        : { passed: 0, failed: 1, skipped: 0 },
  };
}

async function runTests(): Promise<Totals> {
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-check-"));
  const report = join(dir, "junit.xml");
  try {
    const executable = join(root, "dist", process.platform === "win32" ? "modelrelay.exe" : "modelrelay");
    const options = [
      "--no-orphans",
      `--timeout=${TEST_TIMEOUT_MS}`,
      "--reporter=junit",
      `--reporter-outfile=${report}`,
    ];
    const code = await run([bun, "test", ...options, ...positionals], {
      MODELRELAY_BINARY: process.env["MODELRELAY_BINARY"] ?? executable,
    });
    const all = [...new Bun.Glob("test/**/*.test.ts").scanSync(root)].map((file) =>
      file.replaceAll("\\", "/"),
    );
    const expected = positionals.length === 0 ? all.sort() : [];
    const result = readReport(existsSync(report) ? await Bun.file(report).text() : undefined, code, expected);
    for (const file of result.empty)
      console.log(`${file}: no test ran; it could not be loaded, or holds none`);
    return result;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const oxlint = join(root, "node_modules/oxlint/bin/oxlint");
const steps: Step[] = [
  single("format", bun, "fmt", "--no-script", ...(values.fix ? [] : ["--check"])),
  single("types", bun, "check", "--no-script"),
  single("lint", bun, oxlint, "--type-aware", "--deny-warnings"),
  single("generated docs", bun, "scripts/docs.ts", ...(values.fix ? [] : ["--check"])),
  single("build", bun, "scripts/build.ts"),
  { title: "tests", run: runTests },
];

const limit = setTimeout(
  () => {
    outOfTime = true;
    killStep("SIGKILL");
  },
  Math.max(0, started + LIMIT_MS - Date.now()),
);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    killStep("SIGKILL");
    process.exit(1);
  });
}

let totals: Totals = { passed: 0, failed: 0, skipped: 0 };
const summary: string[] = [];
for (const step of steps) {
  console.log(`\n=== ${step.title}`);
  const begun = performance.now();
  const result = await step.run();
  totals = addTotals(totals, result);
  summary.push(
    `${result.failed === 0 ? "ok    " : "FAILED"}  ${step.title} (${formatDuration(performance.now() - begun)})`,
  );
  if (outOfTime) {
    summary.push(
      `Cannot finish: stopped "${step.title}" when the whole run had taken ${formatDuration(LIMIT_MS)}`,
    );
    break;
  }
}
clearTimeout(limit);
console.log(`\n${summary.join("\n")}\n${totalsLine(totals)}`);
process.exit(totals.failed === 0 ? 0 : 1);
