import type { Limits } from "../client.ts";
import type { KeyRing } from "../keys/key-ring.ts";
import type { KeyChanges, KeyRecord } from "../keys/key-store.ts";
import { AdminRefusal, type AdminCall, type AdminRoute } from "./admin-desk.ts";
import { keyFields, parseFields, requiredName, type KeyFields } from "./fields.ts";
import { flag, refuseOthers } from "./query.ts";

/** A key as operators see it. Times are ISO 8601; `null` where there is none, or no limit. */
export interface KeyView {
  id: string;
  name: string;
  prefix: string;
  created_at: string;
  last_used_at: string | null;
  revoked: boolean;
  revoked_at: string | null;
  expires_at: string | null;
  models: string[] | null;
  priority: string;
  rpm: number | null;
  tpm: number | null;
  concurrency: number | null;
  budget: { tokens: number; period: string } | null;
}

/**
 * Makes, shows, changes and revokes keys.
 *
 * @param endRequestsOf ends what runs for a key
 */
export function keyRoutes(ring: KeyRing, endRequestsOf: (keyId: string) => void): AdminRoute[] {
  return [
    {
      method: "POST",
      path: "/admin/keys",
      async handle({ body }) {
        const fields = parseFields(keyFields, body);
        const { record, secret } = await ring.createKey({
          name: requiredName(fields.name),
          models: fields.models ?? undefined,
          priority: fields.priority ?? "normal",
          limits: limitsWith({}, fields),
          expiresAt: timeOf(fields.expires_at),
        });
        return { status: 201, body: { ...keyView(record), secret } };
      },
    },
    {
      method: "GET",
      path: "/admin/keys",
      handle: () => ({ status: 200, body: { keys: ring.keys().map(keyView) } }),
    },
    {
      method: "GET",
      path: "/admin/keys/{id}",
      handle: ({ id }) => ({ status: 200, body: keyView(known(ring.key(id), id)) }),
    },
    { method: "PATCH", path: "/admin/keys/{id}", handle: (call) => change(ring, call) },
    {
      method: "DELETE",
      path: "/admin/keys/{id}",
      async handle({ id, query }) {
        refuseOthers(query, ["revoke_running"]);
        const running = flag(query, "revoke_running");
        known(await ring.revokeKey(id), id);
        if (running) endRequestsOf(id);
        return { status: 204 };
      },
    },
  ];
}

async function change(ring: KeyRing, { id, body }: AdminCall) {
  const fields = parseFields(keyFields, body);
  const before = known(ring.key(id), id);
  if (before.revokedAt !== undefined)
    throw new AdminRefusal(409, "key_revoked", "A key that was revoked cannot be changed");
  const changes: KeyChanges = {
    ...(fields.name !== undefined && { name: fields.name.trim() }),
    ...(fields.models !== undefined && { models: fields.models ?? undefined }),
    ...(fields.priority !== undefined && { priority: fields.priority }),
    ...(fields.expires_at !== undefined && { expiresAt: timeOf(fields.expires_at) }),
    limits: limitsWith(before.limits, fields),
  };
  return { status: 200, body: keyView(known(await ring.updateKey(id, changes), id)) };
}

function keyView(record: KeyRecord): KeyView {
  const { requestsPerMinute, tokensPerMinute, concurrency, budget } = record.limits;
  return {
    id: record.id,
    name: record.name,
    prefix: record.prefix,
    created_at: new Date(record.createdAt).toISOString(),
    last_used_at: isoTime(record.lastUsedAt),
    revoked: record.revokedAt !== undefined,
    revoked_at: isoTime(record.revokedAt),
    expires_at: isoTime(record.expiresAt),
    models: record.models ?? null,
    priority: record.priority,
    rpm: requestsPerMinute ?? null,
    tpm: tokensPerMinute ?? null,
    concurrency: concurrency ?? null,
    budget: budget ?? null,
  };
}

export function isoTime(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}

/** What is not named stays, what is `null` is no limit any more. */
function limitsWith(before: Limits, { rpm, tpm, concurrency, budget }: KeyFields): Limits {
  const limits = { ...before };
  setLimit(limits, "requestsPerMinute", rpm);
  setLimit(limits, "tokensPerMinute", tpm);
  setLimit(limits, "concurrency", concurrency);
  setLimit(limits, "budget", budget);
  return limits;
}

function setLimit<K extends keyof Limits>(limits: Limits, name: K, value: Limits[K] | null): void {
  if (value === null) delete limits[name];
  else if (value !== undefined) limits[name] = value;
}

function timeOf(text: string | null | undefined): number | undefined {
  return typeof text === "string" ? Date.parse(text) : undefined;
}

function known(record: KeyRecord | undefined, id: string): KeyRecord {
  if (record !== undefined) return record;
  throw new AdminRefusal(404, "not_found", `There is no key with id "${id.slice(0, 100)}"`);
}
