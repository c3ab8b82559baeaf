import * as z from "zod";
import { MAX_MODEL_NAME, MAX_MODELS } from "../../protocol/limits.ts";
import { BUDGET_PERIODS, PRIORITIES, type BudgetPeriod, type Priority } from "../client.ts";
import { invalid, quoted } from "./query.ts";

/** Characters of the name of a key or a secret. */
export const MAX_NAME = 100;
/** Of any limit: more is a slip. */
export const MAX_LIMIT = 1_000_000_000_000;

/** @param accepts finishes the sentence "expected …" */
function field<T>(accepts: string, test: (value: unknown) => boolean): z.ZodType<T> {
  return z.custom<T>(test, { error: `expected ${accepts}` });
}

const isText = (value: unknown, max: number): value is string =>
  typeof value === "string" && value.trim() !== "" && value.length <= max && !/\p{Cc}/u.test(value);

const isLimit = (value: unknown): boolean =>
  Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= MAX_LIMIT;

const name = field<string>(`1 to ${MAX_NAME} characters on one line`, (value) => isText(value, MAX_NAME));

const models = field<string[] | null>(
  `1 to ${MAX_MODELS} names of models, or null for all`,
  (value) =>
    value === null ||
    (Array.isArray(value) &&
      value.length >= 1 &&
      value.length <= MAX_MODELS &&
      value.every((model) => isText(model, MAX_MODEL_NAME))),
);

const limit = field<number | null>(
  `a whole number from 1 to ${MAX_LIMIT}, or null for no limit`,
  (value) => value === null || isLimit(value),
);

const priority = field<Priority>(`one of ${PRIORITIES.join(", ")}`, (value) =>
  PRIORITIES.some((known) => known === value),
);

const budget = field<{ tokens: number; period: BudgetPeriod } | null>(
  `{"tokens": a whole number from 1, "period": one of ${BUDGET_PERIODS.join(", ")}}, or null for none`,
  (value) => {
    if (value === null) return true;
    if (typeof value !== "object") return false;
    const { tokens, period, ...rest } = value as Record<string, unknown>;
    const known = BUDGET_PERIODS.some((candidate) => candidate === period);
    return isLimit(tokens) && known && Object.keys(rest).length === 0;
  },
);

/** RFC 3339, as JSON's own dates are. */
const DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/;

const expiresAt = field<string | null>(
  "a time such as 2030-01-31T00:00:00Z, or null for never",
  (value) =>
    value === null || (typeof value === "string" && DATE.test(value) && !Number.isNaN(Date.parse(value))),
);

export const keyFields = z.strictObject({
  name: name.optional(),
  models: models.optional(),
  rpm: limit.optional(),
  tpm: limit.optional(),
  concurrency: limit.optional(),
  priority: priority.optional(),
  budget: budget.optional(),
  expires_at: expiresAt.optional(),
});

export const workerSecretFields = z.strictObject({ name: name.optional(), models: models.optional() });

export type KeyFields = z.output<typeof keyFields>;

/** @throws {AdminRefusal} saying which field is wrong, and what is accepted */
export function parseFields<T extends z.ZodObject>(schema: T, body: unknown): z.output<T> {
  const known = Object.keys(schema.shape).join(", ");
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  if (issue?.code === "unrecognized_keys")
    throw invalid(`Cannot use field ${quoted(issue.keys[0] ?? "")}: accepted are ${known}`);
  if (issue === undefined || issue.path.length === 0)
    throw invalid(`Cannot use the body: expected a JSON object with the fields ${known}`);
  throw invalid(`Cannot use field ${quoted(String(issue.path[0]))}: ${issue.message}`);
}

/** @throws {AdminRefusal} if there is none */
export function requiredName(given: string | undefined): string {
  if (given !== undefined) return given.trim();
  throw invalid(`Cannot do without field "name": expected 1 to ${MAX_NAME} characters on one line`);
}
