import { type Budget, type Cell, type Metric, metricsOf } from "./metrics.ts";
import type { Scenario } from "./scenarios.ts";
import { median, spread } from "./stats.ts";

/** The ratio to another subject: the median of the rounds' own ratios, with the lowest and highest. */
export interface Ratio {
  median: number;
  /** Absent for what is added: there the ratio is that of the medians. */
  low?: number;
  high?: number;
}

export interface Figure {
  /** Median of the rounds. */
  value: number;
  /** Half of (highest - lowest), as a share of the median; see `spread`. */
  spread: number;
  rounds: number[];
  vsDirect?: Ratio;
  vsNginx?: Ratio;
  /** Of an executable with keys, limits and usage to the same without. */
  vsBare?: Ratio;
  /** Whether `vsNginx` keeps the row's budget. */
  withinBudget?: boolean;
}

export interface Row {
  metric: string;
  unit: string;
  budget?: Budget;
  /** For `vsBare`. */
  careBudget?: Budget;
  /** By subject; a subject that has no such figure is absent. */
  figures: Record<string, Figure>;
}

export interface ScenarioSummary {
  scenario: string;
  what: string;
  rows: Row[];
  /** By subject: requests that failed, and the first failure in words. */
  failures: Record<string, { count: number; first: string }>;
  /** By subject: highest share of one core that the generator used. */
  generatorCpu: Record<string, number>;
}

/** Cells of one round by subject; a subject whose cell could not be measured is absent. */
export type Round = Readonly<Record<string, Cell>>;

/**
 * Ratios are taken inside a round, where both subjects met the same weather, and then the median of
 * them. A divisor that is not positive makes the ratio meaningless: none.
 */
function ratioOf(pairs: readonly (readonly [number, number])[]): Ratio | undefined {
  if (pairs.length === 0 || pairs.some(([, divisor]) => !(divisor > 0))) return undefined;
  const ratios = pairs.map(([value, divisor]) => value / divisor);
  if (!ratios.every(Number.isFinite)) return undefined;
  return { median: median(ratios), low: Math.min(...ratios), high: Math.max(...ratios) };
}

/**
 * What is added is a small difference of two noisy figures: near zero in a single round, it would
 * make that round's ratio anything at all. So its medians are divided; none if nginx's is not positive.
 */
function ratioOfMedians(pairs: readonly (readonly [number, number])[]): Ratio | undefined {
  const usable = pairs.filter(([, divisor]) => Number.isFinite(divisor));
  const divisor = median(usable.map(([, each]) => each));
  return divisor > 0 ? { median: median(usable.map(([value]) => value)) / divisor } : undefined;
}

/** Whether a ratio to nginx keeps a budget. */
export function keeps(budget: Budget, ratio: number): boolean {
  return (
    ratio <= (budget.atMost ?? Number.POSITIVE_INFINITY) &&
    ratio >= (budget.atLeast ?? Number.NEGATIVE_INFINITY)
  );
}

function figureOf(metric: Metric, name: string, rounds: readonly Round[]): Figure | undefined {
  const read = (round: Round, subject: string) => {
    const cell = round[subject];
    return cell === undefined ? Number.NaN : metric.read(cell, round["direct"]);
  };
  const measured = rounds.filter((round) => Number.isFinite(read(round, name)));
  if (measured.length === 0) return undefined;
  const values = measured.map((round) => read(round, name));
  const against = (other: string) => {
    const pairs = measured.map((round) => [read(round, name), read(round, other)] as const);
    if (name === other) return undefined;
    return metric.added === true ? ratioOfMedians(pairs) : ratioOf(pairs);
  };
  const vsDirect = metric.added === true ? undefined : against("direct");
  const vsNginx = against("nginx");
  const figure: Figure = { value: median(values), spread: spread(values), rounds: values };
  if (vsDirect !== undefined) figure.vsDirect = vsDirect;
  if (vsNginx !== undefined) figure.vsNginx = vsNginx;
  const vsBare = name === "full" ? against("bare") : undefined;
  if (vsBare !== undefined) figure.vsBare = vsBare;
  if (metric.budget !== undefined && vsNginx !== undefined && name !== "direct") {
    figure.withinBudget = keeps(metric.budget, vsNginx.median);
  }
  return figure;
}

/** Turns the rounds of a scenario into rows of medians, spreads and ratios. */
export function summarise(
  scenario: Scenario,
  subjects: readonly string[],
  rounds: readonly Round[],
): ScenarioSummary {
  const rows = metricsOf(scenario).map((metric) => {
    const row: Row = { metric: metric.name, unit: metric.unit, figures: {} };
    if (metric.budget !== undefined) row.budget = metric.budget;
    if (metric.careBudget !== undefined) row.careBudget = metric.careBudget;
    for (const name of subjects) {
      const figure = figureOf(metric, name, rounds);
      if (figure !== undefined) row.figures[name] = figure;
    }
    return row;
  });
  const summary: ScenarioSummary = {
    scenario: scenario.name,
    what: scenario.what,
    rows,
    failures: {},
    generatorCpu: {},
  };
  for (const name of subjects) {
    const jobs = rounds.flatMap((round) => round[name]?.job ?? []);
    const count = jobs.reduce((sum, job) => sum + job.failures, 0);
    if (count > 0)
      summary.failures[name] = { count, first: jobs.find((job) => job.failure !== undefined)?.failure ?? "" };
    summary.generatorCpu[name] = Math.max(0, ...jobs.map((job) => job.generatorCpu));
  }
  return summary;
}
