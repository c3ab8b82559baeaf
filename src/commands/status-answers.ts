import * as z from "zod";
import type { MinuteView } from "../server/admin/last-minute.ts";
import type { RelayReply } from "./relay-call.ts";

// What a relay answers that is asked how it is. What answers may be a relay of another version, or none at all.

/** One worker, as `GET /health` and `GET /admin/workers` have it. */
export interface WorkerView {
  id: string;
  name: string;
  provider: string;
  models: string[];
  in_flight: number;
  /** Requests at its backend that are not this relay's count as well. */
  load: number;
  max_concurrent: number;
  is_draining: boolean;
  is_resting: boolean;
  is_suspended: boolean;
  /** Only where the admin token is shown. */
  address?: string | null;
  connected_secs?: number | null;
}

export interface CertificateView {
  subject: string;
  names: string[];
  issuer: string | null;
  not_after: string | null;
  ordering: boolean;
  renew_at: string | null;
  next_try_at: string | null;
  last_error: { message: string; action?: string } | null;
}

const count = z.number().default(0);
const texts = z.array(z.string());
const textOrNull = z.string().nullable().default(null);
const flag = z.boolean().default(false);

const worker: z.ZodType<WorkerView> = z.looseObject({
  id: z.string(),
  name: z.string(),
  provider: z.string(),
  models: texts,
  in_flight: count,
  load: count,
  max_concurrent: count,
  is_draining: flag,
  is_resting: flag,
  is_suspended: flag,
  address: z.string().nullish(),
  connected_secs: z.number().nullish(),
}) as z.ZodType<WorkerView>;

const certificate: z.ZodType<CertificateView> = z.looseObject({
  subject: z.string(),
  names: texts,
  issuer: textOrNull,
  not_after: textOrNull,
  ordering: flag,
  renew_at: textOrNull,
  next_try_at: textOrNull,
  last_error: z.looseObject({ message: z.string() }).nullable().default(null),
});

const sum = { requests: count, failed: count, prompt_tokens: count, completion_tokens: count };

const minute: z.ZodType<MinuteView> = z.object({
  secs: z.number().positive(),
  ...sum,
  models: z.array(z.object({ name: z.string(), ...sum })),
});

/** Of `GET /health`. */
export const healthAnswer = z.object({
  version: z.string(),
  uptime_secs: count,
  requests_in_flight: count,
  queue_depth: count,
  queued_by_priority: z.record(z.string(), z.number()).default({}),
  bytes_held: count,
  workers: z.array(worker),
  certificates: z.array(certificate).default([]),
});

/** Of `GET /readyz`. */
export const readinessAnswer = z.object({
  ready: z.boolean(),
  reasons: texts.default([]),
  warnings: texts.default([]),
});

/** Of `GET /admin/workers`. */
export const workersAnswer = z.object({ workers: z.array(worker) });

/** Of `GET /admin/stats`. */
export const statsAnswer = z.object({ last_minute: minute.optional() });

/** @returns `undefined` where the answer is none of its kind */
export function readAnswer<T>(kind: z.ZodType<T>, { text }: RelayReply): T | undefined {
  try {
    return kind.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
