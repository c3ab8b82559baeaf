import { UsageError } from "../base/errors.ts";
import { defineOptions, type Config } from "./options.ts";
import { duration, onOff, sizeBetween } from "./value-kinds.ts";

const MIN_LIMIT = 1024;
/** The relay's one thread hands bodies on, and each MiB holds up whatever else it does by some ms. */
const MAX_LIMIT = 2 * 1024 * 1024;

/** Whether prompts and answers are kept, which nothing but these does. */
export const bodyOptions = defineOptions({
  logBodies: {
    env: "MODELRELAY_LOG_BODIES",
    kind: "switch",
    default: "false",
    help: "Keep prompts and answers in the database, for operators to read",
    schema: onOff,
  },
  logBodiesRetentionMs: {
    flag: "log-bodies-retention",
    env: "MODELRELAY_LOG_BODIES_RETENTION",
    default: "7d",
    hint: "DURATION",
    help: "For how long prompts and answers are kept, also once no more are added",
    schema: duration,
  },
  logBodiesLimit: {
    env: "MODELRELAY_LOG_BODIES_LIMIT",
    default: "1MiB",
    hint: "SIZE",
    help: "Longest part of each request and each answer that is kept, from its beginning",
    schema: sizeBetween(MIN_LIMIT, MAX_LIMIT),
  },
});

type BodyConfig = Config<typeof bodyOptions>;

/** @throws {UsageError} if bodies are to be kept, and for no time */
export function checkBodies(config: BodyConfig, from: Record<keyof BodyConfig, string>): void {
  if (!config.logBodies || config.logBodiesRetentionMs > 0) return;
  throw new UsageError(
    `Cannot keep bodies (log-bodies, ${from.logBodies}) for no time (log-bodies-retention, ${from.logBodiesRetentionMs})`,
    { action: "Give a time such as 7d; bodies are never kept for good" },
  );
}
