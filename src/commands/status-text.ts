import { formatBytes } from "../base/bytes.ts";
import { formatSeconds } from "../base/duration.ts";
import { oneLine } from "../base/one-line.ts";
import { cutText, fittedTable, wrapText, type Column } from "./fitted-table.ts";
import type { CertificateView, WorkerView } from "./status-answers.ts";
import type { ModelView, RatesView, StatusView } from "./status-view.ts";
import { timeText } from "./table-text.ts";

/** A line, and what it is besides its words; nothing is told by that alone. */
export interface StyledLine {
  text: string;
  style?: "title" | "trouble";
}

/** Where the lines are to stand. */
export interface Room {
  /** Cells of a line; `Infinity` where nothing has to be cut. */
  columns: number;
  /** Lines; `Infinity` where there is no screen to fill. */
  rows: number;
}

interface Section {
  columns: readonly Column[];
  rows: { cells: string[]; isTrouble: boolean }[];
  /** What its rows are, where some are left out. */
  what: string;
}

/** What stands before the facts, and how long one of them may be. */
const NAME_WIDTH = 13;
const MAX_FACT = 400;
/** A table is not cut below that. */
const LEAST_ROWS = 3;
const DAY_MS = 86_400_000;
/** A certificate that nobody renewed until then. */
const SHORT_OF_DAYS = 7;

/** The picture of a relay, for a terminal of a given size. */
export function statusLines(view: StatusView, { columns, rows }: Room): StyledLine[] {
  const head = headLines(view, columns);
  const sections = [workers(view), models(view), certificates(view)].filter(
    (section) => section.rows.length > 0,
  );
  const counts = shownCounts(
    sections.map((section) => section.rows.length),
    rows - head.length,
  );
  const lines = [
    ...head,
    ...sections.flatMap((section, at) => sectionLines(section, counts[at] ?? 0, columns)),
  ];
  return lines.map(({ text, ...rest }) => ({ text: cutText(text, columns), ...rest }));
}

function headLines(view: StatusView, columns: number): StyledLine[] {
  const { requests_in_flight: running, queue_depth: queued, rates } = view;
  const state = view.ready ? "ready" : "not ready";
  const facts = [
    ["relay", `${view.relay}  ${oneLine(view.version, 40)}, ${state}, up ${formatSeconds(view.uptime_secs)}`],
    [
      "requests",
      `${running} running, ${queuedText(queued, view.queued_by_priority)}, ${formatBytes(view.bytes_held)} of bodies held`,
    ],
    ...(rates === null ? [] : [["last minute", ratesText(rates)]]),
  ];
  const troubles = [
    ...view.reasons.map((reason) => ["not ready", reason]),
    ...view.warnings.map((warning) => ["warning", warning]),
  ];
  const lines = ([name = "", text = ""]: string[], style?: StyledLine["style"]): StyledLine[] =>
    wrapText(oneLine(text, MAX_FACT), columns - NAME_WIDTH).map((part, at) => ({
      text: (at === 0 ? name : "").padEnd(NAME_WIDTH) + part,
      ...(style !== undefined && { style }),
    }));
  return [
    ...facts.flatMap((fact) => lines(fact)),
    ...troubles.flatMap((trouble) => lines(trouble, "trouble")),
    ...view.notes.flatMap((note) => lines(["note", note])),
  ];
}

function queuedText(queued: number, byPriority: Record<string, number>): string {
  const classes = Object.entries(byPriority).filter(([name, count]) => name !== "normal" && count > 0);
  const told = classes.map(([name, count]) => `${count} ${name}`).join(", ");
  return `${queued} waiting${told === "" ? "" : ` (${told})`}`;
}

function ratesText(rates: RatesView): string {
  const {
    requests_per_sec: requests,
    prompt_tokens_per_sec: prompt,
    completion_tokens_per_sec: completion,
  } = rates;
  const failed = rates.failed === 0 ? "none failed" : `${rates.failed} failed`;
  return `${rate(requests)} requests/s, ${failed}; ${rate(prompt)} tokens/s of prompts, ${rate(completion)} of answers`;
}

function rate(value: number): string {
  return value >= 10 ? String(Math.round(value)) : String(Math.round(value * 100) / 100);
}

function workers({ workers: all }: StatusView): Section {
  const knowsTime = all.some(({ connected_secs: secs }) => secs !== undefined);
  return {
    what: all.length === 1 ? "worker" : "workers",
    columns: [
      { title: "WORKER", cut: "name" },
      { title: "STATE" },
      { title: "BUSY", align: "right" },
      ...(knowsTime ? [{ title: "CONNECTED", align: "right" } as const] : []),
      { title: "MODELS", cut: "list" },
    ],
    rows: all.map((worker) => ({
      cells: [
        worker.name,
        stateOf(worker),
        `${worker.load}/${worker.max_concurrent}`,
        ...(knowsTime ? [connectedText(worker)] : []),
        worker.models.length === 0 ? "none" : worker.models.join(", "),
      ],
      isTrouble: worker.is_draining || worker.is_resting || worker.is_suspended || worker.models.length === 0,
    })),
  };
}

function stateOf(worker: WorkerView): string {
  if (worker.is_suspended) return "away";
  if (worker.is_draining) return "leaving";
  if (worker.is_resting) return "resting";
  if (worker.load >= worker.max_concurrent) return "full";
  return worker.load > 0 ? "busy" : "free";
}

function connectedText({ connected_secs: secs }: WorkerView): string {
  return secs === undefined || secs === null ? "-" : formatSeconds(secs);
}

function models({ models: all }: StatusView): Section {
  const knowsRates = all.some(({ rates }) => rates !== null);
  return {
    what: all.length === 1 ? "model" : "models",
    columns: [
      { title: "MODEL", cut: "name" },
      { title: "WORKERS", align: "right" },
      ...(knowsRates
        ? ["REQUESTS/S", "FAILED", "PROMPT/S", "ANSWER/S"].map(
            (title) => ({ title, align: "right" }) as const,
          )
        : []),
    ],
    rows: all.map((model) => ({
      cells: [model.name, String(model.workers), ...(knowsRates ? rateCells(model) : [])],
      isTrouble: model.workers === 0,
    })),
  };
}

function rateCells({ rates }: ModelView): string[] {
  if (rates === null) return ["", "", "", ""];
  const {
    requests_per_sec: requests,
    failed,
    prompt_tokens_per_sec: prompt,
    completion_tokens_per_sec: answer,
  } = rates;
  return [rate(requests), String(failed), rate(prompt), rate(answer)];
}

function certificates({ certificates: all, at }: StatusView): Section {
  return {
    what: all.length === 1 ? "certificate" : "certificates",
    columns: [
      { title: "CERTIFICATE", cut: "name" },
      { title: "VALID UNTIL" },
      { title: "DAYS", align: "right" },
      { title: "RENEWAL", cut: "text" },
    ],
    rows: all.map((certificate) => {
      const days = daysLeft(certificate, Date.parse(at));
      return {
        cells: [
          certificate.subject,
          timeText(certificate.not_after, "none yet"),
          days === undefined ? "" : String(days),
          renewalText(certificate),
        ],
        isTrouble: days === undefined || days < SHORT_OF_DAYS || certificate.last_error !== null,
      };
    }),
  };
}

function daysLeft({ not_after: until }: CertificateView, nowMs: number): number | undefined {
  return until === null ? undefined : Math.floor((Date.parse(until) - nowMs) / DAY_MS);
}

function renewalText({
  ordering,
  renew_at: renewAt,
  next_try_at: nextTryAt,
  last_error: error,
}: CertificateView): string {
  if (ordering) return "being ordered";
  if (error !== null) return `failed, next try ${timeText(nextTryAt, "at the next start")}: ${error.message}`;
  return timeText(renewAt, "not by this relay");
}

/** How many rows of each table are shown, the longest being cut first. */
function shownCounts(lengths: readonly number[], room: number): number[] {
  const counts = [...lengths];
  // An empty line and the titles stand before the rows, and a line for those left out behind them.
  const height = (): number =>
    counts.reduce((total, count, at) => total + 2 + count + (count < (lengths[at] ?? 0) ? 1 : 0), 0);
  while (height() > room) {
    const longest = counts.indexOf(Math.max(...counts));
    if ((counts[longest] ?? 0) <= LEAST_ROWS) break;
    counts[longest] = (counts[longest] ?? 0) - 1;
  }
  return counts;
}

function sectionLines({ columns, rows, what }: Section, count: number, width: number): StyledLine[] {
  const shown = rows.slice(0, count);
  const [titles = "", ...lines] = fittedTable(
    columns,
    shown.map(({ cells }) => cells),
    width,
  );
  return [
    { text: "" },
    { text: titles, style: "title" },
    ...lines.map((text, at): StyledLine => ({
      text,
      ...(shown[at]?.isTrouble === true && { style: "trouble" }),
    })),
    ...(count < rows.length ? [{ text: `… and ${rows.length - count} more ${what}` }] : []),
  ];
}

const STYLE = { title: "\u001b[1m", trouble: "\u001b[33m" };
const PLAIN = "\u001b[0m";

/** A line as it is written. */
export function written({ text, style }: StyledLine, inColour: boolean): string {
  return inColour && style !== undefined ? `${STYLE[style]}${text}${PLAIN}` : text;
}

/** Lines for stdout. */
export function linesText(lines: readonly StyledLine[], inColour: boolean): string {
  return lines.map((line) => `${written(line, inColour)}\n`).join("");
}
