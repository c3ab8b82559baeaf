import type { KeyView } from "../server/admin/key-routes.ts";
import { tableText, timeText } from "./table-text.ts";

function stateOf({ revoked, expires_at: expiresAt }: KeyView, nowMs: number): string {
  if (revoked) return "revoked";
  if (expiresAt === null) return "valid";
  return Date.parse(expiresAt) <= nowMs ? "expired" : `until ${timeText(expiresAt, "")}`;
}

function limitsOf({ rpm, tpm, concurrency, budget, priority }: KeyView): string {
  const limits = [
    ...(priority === "normal" ? [] : [`${priority} priority`]),
    ...(rpm === null ? [] : [`${rpm} requests/min`]),
    ...(tpm === null ? [] : [`${tpm} tokens/min`]),
    ...(concurrency === null ? [] : [`${concurrency} at once`]),
    ...(budget === null ? [] : [`${budget.tokens} tokens/${budget.period}`]),
  ];
  return limits.join(", ") || "none";
}

/** A line for each key. */
export function keyList(keys: readonly KeyView[], nowMs: number): string {
  if (keys.length === 0) return "no keys yet\n";
  const head = ["NAME", "BEGINS WITH", "STATE", "MODELS", "LIMITS", "LAST USED"];
  const rows = keys.map((key) => [
    key.name,
    key.prefix,
    stateOf(key, nowMs),
    key.models?.join(",") ?? "all",
    limitsOf(key),
    timeText(key.last_used_at, "never"),
  ]);
  return tableText([head, ...rows]);
}

/** All that is known of one key. */
export function keyText(key: KeyView, nowMs: number): string {
  return tableText([
    ["name", key.name],
    ["id", key.id],
    ["begins with", key.prefix],
    ["state", stateOf(key, nowMs)],
    ["models", key.models?.join(", ") ?? "all"],
    ["priority", key.priority],
    ["limits", limitsOf({ ...key, priority: "normal" })],
    ["made", timeText(key.created_at, "")],
    ["last used", timeText(key.last_used_at, "never")],
  ]);
}
