import type { Budget } from "./metrics.ts";
import { type Figure, keeps, type Ratio, type Row, type ScenarioSummary } from "./summary.ts";

/** Three significant digits, and no more than a reader can use: 0.213, 4.06, 187, 152,300. */
export function formatNumber(value: number): string {
  const size = Math.abs(value);
  if (size >= 1_000) return Number(value.toPrecision(4)).toLocaleString("en-US");
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return value.toFixed(size >= 1 ? 2 : 3);
}

function formatRatio(ratio: Ratio | undefined): string {
  return ratio === undefined ? "" : `${formatNumber(ratio.median)}x`;
}

function formatBudget(budget: Budget): string {
  return budget.atMost === undefined ? `>= ${budget.atLeast}x` : `<= ${budget.atMost}x`;
}

/** `0.353 ±2%`, and where the spread says more than the value, the value alone with `±-`. */
function formatFigure(figure: Figure): string {
  const noise =
    figure.rounds.length < 2 ? "" : figure.spread < 9.995 ? ` ±${Math.round(figure.spread * 100)}%` : " ±-";
  return `${formatNumber(figure.value)}${noise}`;
}

function cellsOf(row: Row, subject: string): string[] {
  const figure = row.figures[subject];
  if (figure === undefined) return subject === "direct" ? ["-"] : ["-", "", ""];
  if (subject === "direct") return [formatFigure(figure)];
  const mark = figure.withinBudget === false ? " !" : "";
  const range = row.budget === undefined ? "" : formatRange(figure, figure.vsNginx);
  return [
    formatFigure(figure),
    formatRatio(figure.vsDirect),
    `${formatRatio(figure.vsNginx)}${range}${mark}`,
  ];
}

/** The lowest and the highest of the rounds, where there is more than one. */
function formatRange({ rounds }: Figure, ratio: Ratio | undefined): string {
  return ratio?.low === undefined || ratio.high === undefined || rounds.length < 2
    ? ""
    : ` (${formatNumber(ratio.low)}-${formatNumber(ratio.high)})`;
}

/** What keys, limits and usage cost, a line for each figure. */
function careLines(rows: readonly Row[]): string[] {
  const lines = rows.flatMap((row) => {
    const figure = row.figures["full"];
    const ratio = figure?.vsBare;
    if (figure === undefined || ratio === undefined) return [];
    const { careBudget } = row;
    const mark = careBudget === undefined || keeps(careBudget, ratio.median) ? "" : " !";
    const cells = [row.metric, `${formatRatio(ratio)}${formatRange(figure, ratio)}${mark}`];
    return [[...cells, careBudget === undefined ? "" : formatBudget(careBudget)]];
  });
  return lines.length === 0 ? [] : ["", layOut([["full to bare", "", "budget"], ...lines])];
}

/** Lays out rows of text in columns; the first is left-aligned, the rest right. */
export function layOut(lines: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const line of lines)
    for (const [i, text] of line.entries()) widths[i] = Math.max(widths[i] ?? 0, text.length);
  const used = [...widths.keys()].filter((i) => (widths[i] ?? 0) > 0);
  return lines
    .map((line) =>
      used
        .map((i) =>
          i === 0 ? (line[i] ?? "").padEnd(widths[i] ?? 0) : (line[i] ?? "").padStart(widths[i] ?? 0),
        )
        .join("  "),
    )
    .map((line) => `  ${line}`.trimEnd())
    .join("\n");
}

/** One scenario as a table. `!` marks a ratio outside its budget; nothing fails by it. */
export function renderScenario(summary: ScenarioSummary, subjects: readonly string[]): string {
  const withNginx = subjects.includes("nginx");
  const head = [
    "",
    ...subjects.flatMap((name) =>
      name === "direct" ? [name] : [name, "/direct", name === "nginx" || !withNginx ? "" : "/nginx"],
    ),
    "",
  ];
  const lines = summary.rows
    .filter((row) => Object.keys(row.figures).length > 0)
    .map((row) => [
      `${row.metric}, ${row.unit}`,
      ...subjects.flatMap((name) => cellsOf(row, name)),
      row.budget === undefined ? "" : formatBudget(row.budget),
    ]);
  if (lines.some((line) => line.at(-1) !== "")) head[head.length - 1] = "budget/nginx";
  const notes = Object.entries(summary.failures).map(
    ([name, { count, first }]) => `  ${name}: ${count} failed, the first with: ${first}`,
  );
  const busy = Object.entries(summary.generatorCpu).filter(([, share]) => share > 0.9);
  for (const [name, share] of busy)
    notes.push(
      `  ${name}: the generator used ${Math.round(share * 100)} % of a core; the figure is its limit, not the subject's`,
    );
  return [
    `${summary.scenario}: ${summary.what}`,
    layOut([head, ...lines]),
    ...careLines(summary.rows),
    ...notes,
  ].join("\n");
}

/** Idle memory of each subject that has processes, by role, in MB. */
export function renderIdleMemory(idle: Readonly<Record<string, Readonly<Record<string, number>>>>): string {
  const lines = Object.entries(idle)
    .filter(([, roles]) => Object.keys(roles).length > 0)
    .map(([name, roles]) => [
      name,
      Object.entries(roles)
        .map(([role, bytes]) => `${role} ${formatNumber(bytes / 1e6)} MB`)
        .join(", "),
    ]);
  return lines.length === 0
    ? ""
    : `memory, idle after start (resident)\n${lines.map(([name, text]) => `  ${name}: ${text}`).join("\n")}`;
}
