import { messageOf } from "../src/base/errors.ts";
import type { Generator } from "./generator.ts";
import type { Job } from "./job.ts";
import type { Cell } from "./metrics.ts";
import { cpuSeconds, residentBytes } from "./proc.ts";
import type { Scenario } from "./scenarios.ts";
import type { Subject } from "./subject.ts";
import type { Round } from "./summary.ts";

/** How often memory is looked at during a job. */
const SAMPLE_MS = 100;

/** Applies `read` to each role's processes. */
export function byRole(subject: Subject, read: (pids: readonly number[]) => number): Record<string, number> {
  return Object.fromEntries(Object.entries(subject.processes).map(([role, pids]) => [role, read(pids)]));
}

async function measureCell(subject: Subject, job: Job, generator: Generator): Promise<Cell> {
  const peakBytes = byRole(subject, residentBytes);
  const sampling = setInterval(() => {
    for (const [role, bytes] of Object.entries(byRole(subject, residentBytes)))
      peakBytes[role] = Math.max(peakBytes[role] ?? 0, bytes);
  }, SAMPLE_MS);
  const before = byRole(subject, cpuSeconds);
  try {
    const result = await generator.run(job);
    const cpu = byRole(subject, cpuSeconds);
    for (const role in cpu) cpu[role] = (cpu[role] ?? 0) - (before[role] ?? 0);
    return { job: result, cpu, peakBytes };
  } finally {
    clearInterval(sampling);
  }
}

/**
 * Puts each subject that has processes under load before the first scenario of a kind. A runtime that compiles
 * while it runs takes some 100,000 requests until it is as fast as it will be, and one with more to do for each
 * takes longer: in the first rounds of a run its way there would be measured instead.
 *
 * @param note told what could not be done
 * @param stop ends the run at the next subject
 * @throws the reason of `stop`
 */
export async function heat(
  scenario: Scenario,
  subjects: readonly Subject[],
  generator: Generator,
  note: (text: string) => void,
  stop?: AbortSignal,
): Promise<void> {
  for (const { name, baseUrl, processes } of subjects) {
    stop?.throwIfAborted();
    if (Object.keys(processes).length === 0) continue;
    try {
      await generator.run({ ...scenario.heat, baseUrl });
    } catch (error) {
      note(`before ${scenario.name}, ${name}: ${messageOf(error)}`);
    }
  }
}

/**
 * Measures every subject once a round, A B C A B C, so that a slow minute of the machine hits all.
 *
 * @param note told what could not be measured; the cell is then absent and the run goes on
 * @param stop ends the run at the next cell
 * @throws the reason of `stop`
 */
export async function runScenario(
  scenario: Scenario,
  subjects: readonly Subject[],
  generator: Generator,
  note: (text: string) => void,
  stop?: AbortSignal,
): Promise<Round[]> {
  const rounds: Round[] = [];
  for (let number = 1; number <= scenario.rounds; number++) {
    const round: Record<string, Cell> = {};
    for (const subject of subjects) {
      stop?.throwIfAborted();
      try {
        round[subject.name] = await measureCell(
          subject,
          { ...scenario.plan, baseUrl: subject.baseUrl },
          generator,
        );
      } catch (error) {
        note(`${scenario.name}, ${subject.name}, round ${number}: ${messageOf(error)}`);
      }
    }
    rounds.push(round);
  }
  return rounds;
}
