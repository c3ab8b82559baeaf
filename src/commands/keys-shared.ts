import { parseDuration } from "../base/duration.ts";
import { UsageError } from "../base/errors.ts";
import { MAX_LIMIT, MAX_NAME } from "../server/admin/fields.ts";
import type { KeyView } from "../server/admin/key-routes.ts";
import { BUDGET_PERIODS, PRIORITIES } from "../server/client.ts";
import { defineOptions, type Config } from "./options.ts";
import type { Operator } from "./operator.ts";
import { integer, label, oneOf, splitList, textKind } from "./value-kinds.ts";
import { shown } from "./wording.ts";

/** What `all` and `never` stand for, as the relay takes it. */
export interface Cleared<T> {
  value: T | null;
}

export const modelsKind = textKind(
  "names of models with commas between them, or all",
  (text): Cleared<string[]> | undefined => {
    const names = splitList(text);
    if (names.some((name) => name === "")) return undefined;
    return { value: names.length === 1 && names[0] === "all" ? null : names };
  },
);

/** A hundred years: who means more means never. */
const MAX_EXPIRY_MS = 36_525 * 24 * 3_600_000;

/** So far away, or at a time in ms since the epoch. */
type Expiry = Cleared<{ inMs: number } | { at: number }>;

const expiry = textKind(
  "a duration such as 30d, a date such as 2030-01-31, or never",
  (text): Expiry | undefined => {
    const word = text.trim();
    if (word === "never") return { value: null };
    const inMs = /[a-z]/.test(word) ? parseDuration(word) : undefined;
    if (inMs !== undefined && inMs > 0 && inMs <= MAX_EXPIRY_MS) return { value: { inMs } };
    const at = /^\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?$/.test(word) ? Date.parse(word) : Number.NaN;
    return Number.isNaN(at) ? undefined : { value: { at } };
  },
);

const limit = { inFile: false, hint: "NUMBER", schema: integer(0, MAX_LIMIT) } as const;

/** What a key may do. */
export const keyOptions = defineOptions({
  models: {
    kind: "list",
    inFile: false,
    hint: "NAMES",
    help: "Models that it may use; all for every one",
    schema: modelsKind,
  },
  rpm: { ...limit, help: "Requests per minute; 0 for no limit" },
  tpm: { ...limit, help: "Tokens per minute, of prompts and answers; 0 for no limit" },
  concurrency: { ...limit, help: "Requests at once; 0 for no limit" },
  priority: {
    inFile: false,
    hint: "CLASS",
    help: "Who goes first where requests have to wait: high, normal or low",
    schema: oneOf(PRIORITIES),
  },
  budgetTokens: { ...limit, help: "Tokens in a calendar day or month (UTC); 0 for no limit" },
  budgetPeriod: {
    inFile: false,
    hint: "PERIOD",
    help: "What --budget-tokens is for: day or month",
    schema: oneOf(BUDGET_PERIODS),
  },
  expires: {
    inFile: false,
    hint: "WHEN",
    help: "When it ends: 30d from now, a date, or never",
    schema: expiry,
  },
});

export const nameOperand = {
  operand: true,
  inFile: false,
  hint: "NAME",
  help: "Name of the key, its id, or how it begins",
  schema: label(MAX_NAME),
} as const;

/** What the flags ask for, as the relay takes it; what is not given is not in it. */
export function keyFieldsOf(config: Config<typeof keyOptions>, before: KeyView | undefined, nowMs: number) {
  const { models, rpm, tpm, concurrency, priority, budgetTokens, budgetPeriod, expires } = config;
  const orNone = (value: number) => (value === 0 ? null : value);
  return {
    ...(models !== undefined && { models: models.value }),
    ...(rpm !== undefined && { rpm: orNone(rpm) }),
    ...(tpm !== undefined && { tpm: orNone(tpm) }),
    ...(concurrency !== undefined && { concurrency: orNone(concurrency) }),
    ...(priority !== undefined && { priority }),
    ...budgetOf(budgetTokens, budgetPeriod, before),
    ...(expires !== undefined && { expires_at: expiresAt(expires, nowMs) }),
  };
}

function budgetOf(
  given: number | undefined,
  period: string | undefined,
  before: KeyView | undefined,
): { budget?: { tokens: number; period: string } | null } {
  if (given === 0) return { budget: null };
  const tokens = given ?? (period === undefined ? undefined : before?.budget?.tokens);
  if (tokens !== undefined)
    return { budget: { tokens, period: period ?? before?.budget?.period ?? "month" } };
  if (period === undefined) return {};
  throw new UsageError("Cannot use --budget-period without --budget-tokens: there is no budget", {
    action: "Add --budget-tokens NUMBER",
  });
}

function expiresAt({ value }: Expiry, nowMs: number): string | null {
  if (value === null) return null;
  return new Date("at" in value ? value.at : nowMs + value.inMs).toISOString();
}

/** One of a list that operators name: by its id, by its name, or by how it begins. */
interface Named {
  id: string;
  name: string;
  prefix: string;
  revoked: boolean;
}

/** @throws {UsageError} if none or several are meant */
export function oneNamed<T extends Named>(all: readonly T[], given: string, what: string): T {
  const valid = all.filter(({ revoked }) => !revoked);
  const tries: T[][] = [
    all.filter(({ id }) => id === given),
    valid.filter(({ name }) => name === given),
    all.filter(({ prefix }) => given.startsWith(prefix)),
    all.filter(({ name }) => name === given),
  ];
  const found = tries.find((matches) => matches.length > 0) ?? [];
  const [only, ...more] = found;
  if (only === undefined) {
    throw new UsageError(`Cannot find ${what} ${shown(given)}`, {
      action: `See all with: modelrelay ${what === "key" ? "keys" : "workers secret"} list`,
    });
  }
  if (more.length === 0) return only;
  throw new UsageError(`Cannot tell which ${what} ${shown(given)} is meant: ${found.length} have this name`, {
    action: `Name it by its id: ${found.map(({ id }) => id).join(", ")}`,
  });
}

/** @throws {UsageError} if the name is missing, or means none or several */
export async function keyNamed(
  operator: Operator,
  name: string | undefined,
  command: string,
): Promise<KeyView> {
  const given = requireName(name, command);
  const { keys } = await operator.ask<{ keys: KeyView[] }>("GET", "/admin/keys");
  return oneNamed(keys, given, "key");
}

/** @throws {UsageError} if it is missing */
export function requireName(name: string | undefined, command: string): string {
  if (name !== undefined) return name;
  throw new UsageError("Cannot do that without a name: NAME is missing", {
    action: `Write: modelrelay ${command} NAME`,
  });
}
