import { createLog, type Log, type LogFormat, type LogLevel } from "../base/log.ts";

/** A log whose level can change while others hold on to it. */
export interface AdjustableLog extends Log {
  setLevel(level: LogLevel): void;
}

export function createAdjustableLog(level: LogLevel, format: LogFormat): AdjustableLog {
  let log = createLog(level, format);
  return {
    get verbose() {
      return log.verbose;
    },
    error: (message, fields) => log.error(message, fields),
    warn: (message, fields) => log.warn(message, fields),
    info: (message, fields) => log.info(message, fields),
    debug: (message, fields) => log.debug(message, fields),
    often: (message, fields) => log.often(message, fields),
    setLevel(next) {
      log = createLog(next, format);
    },
  };
}
