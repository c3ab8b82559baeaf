import { createConsola, type ConsolaInstance } from "consola/core";

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
  /** Whether `debug` lines are written; lets a hot path skip building one. */
  readonly verbose: boolean;
}

const CONSOLA_LEVEL: Record<LogLevel, number> = { error: 0, warn: 1, info: 3, debug: 4, trace: 5 };

/** Control characters of foreign text must not reach a terminal or forge a second line. */
function plain(text: string): string {
  return text.replace(
    // eslint-disable-next-line no-control-regex
    /[\u0000-\u001f\u007f-\u009f]/g,
    (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

function render(message: string, fields: LogFields | undefined): string {
  let line = plain(message);
  for (const key in fields) {
    const value = fields[key];
    if (value === undefined) continue;
    const text = plain(String(value));
    line += ` ${key}=${/[\s"=]/.test(text) || text === "" ? JSON.stringify(text) : text}`;
  }
  return line;
}

const COLOUR: Record<string, string> = {
  error: "\u001b[31m",
  warn: "\u001b[33m",
  info: "\u001b[32m",
  debug: "\u001b[90m",
};

/** Colour helps a person at a terminal and is never needed to understand a line. */
function colourWanted(): boolean {
  return process.stderr.isTTY && !("NO_COLOR" in process.env);
}

function jsonLine(type: string, date: Date, message: string, fields: LogFields | undefined): string {
  return JSON.stringify({ time: date.toISOString(), level: type, message, ...fields });
}

/** @param level lines below it are not written */
export function createLog(level: LogLevel, format: LogFormat = "pretty"): Log {
  const colour = colourWanted();
  const stamped = !process.stderr.isTTY;
  const consola: ConsolaInstance = createConsola({
    level: CONSOLA_LEVEL[level],
    // consola's own reporters write `info` to stdout and several lines for a warning.
    reporters: [
      {
        log({ type, date, args }) {
          const [message, fields] = args as [string, LogFields | undefined];
          if (format === "json")
            return void process.stderr.write(`${jsonLine(type, date, message, fields)}\n`);
          const label = type.padEnd(5);
          const head = stamped
            ? `${date.toISOString()} ${label}`
            : colour
              ? `${COLOUR[type] ?? ""}${label}\u001b[0m`
              : label;
          process.stderr.write(`${head} ${render(message, fields)}\n`);
        },
      },
    ],
  });
  return {
    verbose: CONSOLA_LEVEL[level] >= CONSOLA_LEVEL.debug,
    error: (message, fields) => consola.error(message, fields),
    warn: (message, fields) => consola.warn(message, fields),
    info: (message, fields) => consola.info(message, fields),
    debug: (message, fields) => consola.debug(message, fields),
  };
}

/** A log that drops everything, for tests and embedded use. */
export const silentLog: Log = { verbose: false, error() {}, warn() {}, info() {}, debug() {} };
