import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, loadavg, tmpdir, totalmem } from "node:os";
import { dirname, join } from "node:path";
import { Problem, UsageError, messageOf } from "../src/base/errors.ts";
import { Generator } from "./generator.ts";
import { nginxVersion } from "./nginx.ts";
import { type Options, USAGE, readOptions } from "./options.ts";
import { cpuSeconds, machineCpuSeconds, residentBytes } from "./proc.ts";
import { renderIdleMemory, renderScenario } from "./report.ts";
import { byRole, heat, runScenario } from "./rounds.ts";
import { pidsOf } from "./subject.ts";
import { startSubjects } from "./subjects.ts";
import { summarise } from "./summary.ts";

/** Progress and complaints go to stderr; stdout holds the report alone. */
function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

function describeMachine() {
  const [cpu] = cpus();
  return {
    cpu: cpu?.model ?? "unknown",
    cores: cpus().length,
    memoryBytes: totalmem(),
    bun: Bun.version,
    nginx: nginxVersion() ?? null,
    platform: `${process.platform} ${process.arch}`,
    loadAverage: loadavg()[0] ?? 0,
  };
}

/** CPU time of this run and of everything else, so that a disturbed run can be told from a quiet one. */
function startCpuAccount(ownPids: () => number[]) {
  const read = () => ({ own: cpuSeconds(ownPids()), machine: machineCpuSeconds(), at: performance.now() });
  const before = read();
  return (): number => {
    const now = read();
    const others = now.machine - before.machine - (now.own - before.own);
    return Math.max(0, others / ((now.at - before.at) / 1_000) / cpus().length);
  };
}

async function run(options: Options, workDir: string, stop: AbortSignal): Promise<void> {
  const startedAt = new Date();
  const machine = describeMachine();
  await using subjects = await startSubjects(options, workDir, note);
  await using generator = new Generator();
  // Ends the job at hand; the loop then ends at the next cell and everything started is stopped.
  stop.addEventListener("abort", () => void generator[Symbol.asyncDispose]());
  const names = subjects.all.map(({ name }) => name);
  const idle = Object.fromEntries(
    subjects.all.map((subject) => [subject.name, byRole(subject, residentBytes)]),
  );
  // A peer's processes are not beneath this one.
  const othersShare = startCpuAccount(() => [process.pid, ...subjects.all.flatMap(pidsOf)]);

  console.log(
    `${names.join(", ")} on ${machine.cores} x ${machine.cpu}, Bun ${machine.bun}, nginx ${machine.nginx ?? "absent"}`,
  );
  console.log(
    "Median of the rounds, ± half of their range. /direct and /nginx: ratio, taken round by round. ! is outside the budget.\n",
  );
  const scenarios = [];
  const hot = new Set<string>();
  for (const scenario of options.scenarios) {
    note(`measuring ${scenario.name} …`);
    const { kind } = scenario.plan;
    if (!hot.has(kind)) await heat(scenario, subjects.all, generator, note, stop);
    hot.add(kind);
    const rounds = await runScenario(scenario, subjects.all, generator, note, stop);
    const summary = summarise(scenario, names, rounds);
    scenarios.push({ ...summary, plan: scenario.plan, rounds });
    console.log(`${renderScenario(summary, names)}\n`);
  }
  const otherCpuShare = othersShare();
  const memory = renderIdleMemory(idle);
  if (memory !== "") console.log(`${memory}\n`);
  const seconds = (Date.now() - startedAt.getTime()) / 1_000;
  console.log(
    `${Math.round(seconds)} s; other processes used ${Math.round(otherCpuShare * 100)} % of the machine meanwhile`,
  );
  if (options.jsonFile !== undefined) {
    mkdirSync(dirname(options.jsonFile), { recursive: true });
    const results = {
      startedAt: startedAt.toISOString(),
      seconds,
      quick: options.quick,
      machine,
      otherCpuShare,
      subjects: names,
      idleBytes: idle,
      scenarios,
    };
    await Bun.write(options.jsonFile, `${JSON.stringify(results, null, 1)}\n`);
    note(`wrote ${options.jsonFile}`);
  }
}

async function main(): Promise<number> {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => stop.abort(new Problem(`Cannot finish the run: stopped by ${signal}`)));
  }
  try {
    const options = readOptions(process.argv.slice(2));
    if (options === undefined) {
      console.log(USAGE);
      return 0;
    }
    const workDir = mkdtempSync(join(tmpdir(), "modelrelay-bench-"));
    try {
      await run(options, workDir, stop.signal);
    } finally {
      rmSync(workDir, { recursive: true, force: true });
    }
    return 0;
  } catch (error) {
    note(messageOf(error));
    if (error instanceof Problem && error.action !== undefined) note(error.action);
    return error instanceof UsageError ? 2 : 1;
  }
}

if (import.meta.main) process.exit(await main());
