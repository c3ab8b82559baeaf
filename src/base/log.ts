import { createConsola, type ConsolaInstance } from "consola/core";
import { writeLines } from "./status-line.ts";

export const LOG_LEVELS = ["error", "warn", "info", "debug", "trace"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const LOG_FORMATS = ["pretty", "json"] as const;
/** `pretty`: a line of text, then `name=value`. `json`: an object a line, with `time`, `level` and `message`. */
export type LogFormat = (typeof LOG_FORMATS)[number];

/** Values that stand beside a log message, such as `{ worker: "gpu-box", models: 3 }`. Never a secret. */
export type LogFields = Record<string, string | number | boolean | undefined>;

/** One line an event, to stderr; stdout belongs to what the user asked for. */
export interface Log {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** As `info`, for what comes with each request: lines that are made one after the other are written together. */
  often(message: string, fields?: LogFields): void;
  /** Whether `debug` lines are written; lets a hot path skip building one. */
  readonly verbose: boolean;
}

const CONSOLA_LEVEL: Record<LogLevel, number> = { error: 0, warn: 1, info: 3, debug: 4, trace: 5 };

// eslint-disable-next-line no-control-regex
const CONTROLS = /[\u0000-\u001f\u007f-\u009f]/g;
/** What a value must not hold to stand without quotes. */
// eslint-disable-next-line no-control-regex
const NEEDS_QUOTES = /[\s"=\u0000-\u001f\u007f-\u009f]|^$/;

/** Control characters of foreign text must not reach a terminal or forge a second line. */
function plain(text: string): string {
  return text.replace(CONTROLS, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

function render(message: string, fields: LogFields | undefined): string {
  let line = plain(message);
  for (const key in fields) {
    const value = fields[key];
    if (value === undefined) continue;
    const quoted = typeof value === "string" && NEEDS_QUOTES.test(value);
    line += quoted ? ` ${key}=${quotedValue(value)}` : ` ${key}=${value}`;
  }
  return line;
}

function quotedValue(value: string): string {
  const text = plain(value);
  return /[\s"=]|^$/.test(text) ? JSON.stringify(text) : text;
}

const COLOUR: Record<string, string> = {
  error: "\u001b[31m",
  warn: "\u001b[33m",
  info: "\u001b[32m",
  debug: "\u001b[90m",
};

/** Colour helps a person at a terminal and is never needed to understand a line. */
function colourWanted(): boolean {
  const { NO_COLOR, TERM } = process.env;
  // An empty one does not count (no-color.org).
  return process.stderr.isTTY && !NO_COLOR && TERM !== "dumb";
}

type LineFormat = (level: string, date: Date, message: string, fields: LogFields | undefined) => string;

/** ISO 8601 in UTC. Lines of the same ms share it: making it takes a sixth of the time for a line. */
let written = { ms: Number.NaN, text: "" };
function timestamp(date: Date): string {
  const ms = date.getTime();
  if (ms !== written.ms) written = { ms, text: date.toISOString() };
  return written.text;
}

function jsonLine(level: string, date: Date, message: string, fields: LogFields | undefined): string {
  return `${JSON.stringify({ time: timestamp(date), level, message, ...fields })}\n`;
}

function prettyLines(): LineFormat {
  const colour = colourWanted();
  const stamped = !process.stderr.isTTY;
  return (level, date, message, fields) => {
    const label = level.padEnd(5);
    const head = stamped
      ? `${timestamp(date)} ${label}`
      : colour
        ? `${COLOUR[level] ?? ""}${label}\u001b[0m`
        : label;
    return `${head} ${render(message, fields)}\n`;
  };
}

/** Lines that are made one after the other leave together; a write for each takes as long as making it. */
function createBatch(): (line: string) => void {
  let lines = "";
  const flush = (): void => {
    const text = lines;
    lines = "";
    if (text !== "") writeLines(text);
  };
  process.on("exit", flush);
  return (line) => {
    if (lines === "") queueMicrotask(flush);
    lines += line;
  };
}

/** @param level lines below it are not written */
export function createLog(level: LogLevel, format: LogFormat = "pretty"): Log {
  const lineOf = format === "json" ? jsonLine : prettyLines();
  const most = CONSOLA_LEVEL[level];
  const consola: ConsolaInstance = createConsola({
    level: most,
    // What is said twice is said twice.
    throttle: 0,
    // consola's own reporters write `info` to stdout and several lines for a warning.
    reporters: [
      {
        log({ type, date, args }) {
          const [message, fields] = args as [string, LogFields | undefined];
          writeLines(lineOf(type, date, message, fields));
        },
      },
    ],
  });
  const batch = createBatch();
  return {
    verbose: most >= CONSOLA_LEVEL.debug,
    error: (message, fields) => consola.error(message, fields),
    warn: (message, fields) => consola.warn(message, fields),
    info: (message, fields) => consola.info(message, fields),
    debug: (message, fields) => consola.debug(message, fields),
    often(message, fields) {
      if (most >= CONSOLA_LEVEL.info) batch(lineOf("info", new Date(), message, fields));
    },
  };
}

/** A log that drops everything, for tests and embedded use. */
export const silentLog: Log = { verbose: false, error() {}, warn() {}, info() {}, debug() {}, often() {} };
