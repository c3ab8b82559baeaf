import { createConsola, type ConsolaInstance } from "consola";

export const LOG_LEVELS = ["error", "warn", "info", "debug", "trace"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

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
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
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

/** @param level lines below it are not written */
export function createLog(level: LogLevel): Log {
  // consola writes `info` to stdout unless told otherwise.
  const consola: ConsolaInstance = createConsola({
    level: CONSOLA_LEVEL[level],
    stdout: process.stderr,
    stderr: process.stderr,
    formatOptions: { date: !process.stderr.isTTY, compact: true },
  });
  return {
    verbose: CONSOLA_LEVEL[level] >= CONSOLA_LEVEL.debug,
    error: (message, fields) => consola.error(render(message, fields)),
    warn: (message, fields) => consola.warn(render(message, fields)),
    info: (message, fields) => consola.info(render(message, fields)),
    debug: (message, fields) => consola.debug(render(message, fields)),
  };
}

/** A log that drops everything, for tests and embedded use. */
export const silentLog: Log = { verbose: false, error() {}, warn() {}, info() {}, debug() {} };
