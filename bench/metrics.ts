import type { JobResult } from "./job.ts";
import type { Scenario } from "./scenarios.ts";

/** One subject in one round of one scenario. */
export interface Cell {
  readonly job: JobResult;
  /** CPU seconds of the subject's processes, by role, over the whole job. */
  readonly cpu: Readonly<Record<string, number>>;
  /** Highest resident memory seen during the job, in bytes, by role. */
  readonly peakBytes: Readonly<Record<string, number>>;
}

/** A bound on the ratio to nginx. Shown beside the figure, never enforced. */
export interface Budget {
  readonly atMost?: number;
  readonly atLeast?: number;
}

/** One row of the report. */
export interface Metric {
  readonly name: string;
  readonly unit: string;
  /** The figure of one cell; NaN where it has none. @param direct the backend itself in the same round */
  read(cell: Cell, direct: Cell | undefined): number;
  /** The figure is a difference to direct, so that a ratio to direct means nothing. */
  readonly added?: boolean;
  readonly budget?: Budget;
  /** A bound on the ratio of `full` to `bare`: what keys, limits and usage may cost. Never enforced either. */
  readonly careBudget?: Budget;
}

function total(parts: Readonly<Record<string, number>>): number {
  const values = Object.values(parts);
  return values.length === 0 ? Number.NaN : values.reduce((sum, value) => sum + value, 0);
}

const perSecond = (count: number, job: JobResult) => (count / job.windowMs) * 1_000;

/** What is added over direct, in the same round: the difference of the two quantiles. */
function addedBy(pick: (job: JobResult) => number): Metric["read"] {
  return (cell, direct) =>
    direct === undefined || direct === cell ? Number.NaN : pick(cell.job) - pick(direct.job);
}

const cpuPerMillionTokens: Metric = {
  name: "CPU per million tokens",
  unit: "s",
  read: ({ cpu, job }) => total(cpu) / (job.tokensTotal / 1e6),
};

const cpuPerThousandRequests: Metric = {
  name: "CPU per 1,000 requests",
  unit: "s",
  read: ({ cpu, job }) => total(cpu) / (job.requestsTotal / 1e3),
};

const requestsPerSecond: Metric = {
  name: "requests",
  unit: "/s",
  read: ({ job }) => perSecond(job.requests, job),
};
const tokensPerSecond: Metric = { name: "tokens", unit: "/s", read: ({ job }) => perSecond(job.tokens, job) };
const peakMemory: Metric = {
  name: "memory, peak",
  unit: "MB",
  read: ({ peakBytes }) => total(peakBytes) / 1e6,
};

/** The rows of a scenario. Budgets are those of the project's design, as ratios to nginx. */
export function metricsOf(scenario: Scenario): Metric[] {
  const { plan, name } = scenario;
  if (plan.kind === "streams" && plan.intervalMs > 0) {
    return [
      tokensPerSecond,
      { name: "delay p50", unit: "ms", read: ({ job }) => job.delayMs.p50 },
      { name: "delay p99", unit: "ms", read: ({ job }) => job.delayMs.p99 },
      {
        name: "added p50",
        unit: "ms",
        added: true,
        read: addedBy((job) => job.delayMs.p50),
        budget: { atMost: 1.5 },
      },
      {
        name: "added p99",
        unit: "ms",
        added: true,
        read: addedBy((job) => job.delayMs.p99),
        budget: { atMost: 2 },
      },
      cpuPerMillionTokens,
      peakMemory,
    ];
  }
  if (plan.kind === "streams")
    return [{ ...tokensPerSecond, budget: { atLeast: 1 } }, cpuPerMillionTokens, peakMemory];
  if (name === "latency") {
    return [
      { name: "p50", unit: "ms", read: ({ job }) => job.latencyMs.p50 },
      { name: "p99", unit: "ms", read: ({ job }) => job.latencyMs.p99 },
      {
        name: "added p50",
        unit: "ms",
        added: true,
        read: addedBy((job) => job.latencyMs.p50),
        budget: { atMost: 2.5 },
      },
      { name: "added p99", unit: "ms", added: true, read: addedBy((job) => job.latencyMs.p99) },
      cpuPerThousandRequests,
    ];
  }
  if (plan.requestBytes < 100_000 && plan.responseBytes < 100_000) {
    return [
      { ...requestsPerSecond, budget: { atLeast: 0.85 }, careBudget: { atLeast: 0.9 } },
      { name: "p50", unit: "ms", read: ({ job }) => job.latencyMs.p50 },
      { name: "p99", unit: "ms", read: ({ job }) => job.latencyMs.p99 },
      cpuPerThousandRequests,
      peakMemory,
    ];
  }
  const bytes = plan.requestBytes + plan.responseBytes;
  return [
    requestsPerSecond,
    { name: "bodies", unit: "MB/s", read: ({ job }) => (perSecond(job.requests, job) * bytes) / 1e6 },
    cpuPerThousandRequests,
    peakMemory,
  ];
}
