import type { RequestRecord } from "../request-record.ts";

/** What requests came to that have ended. */
export interface MinuteSum {
  requests: number;
  failed: number;
  prompt_tokens: number;
  completion_tokens: number;
}

/** In `GET /admin/stats`. */
export interface MinuteView extends MinuteSum {
  /** Less than 60 until the relay has run for so long. */
  secs: number;
  models: ({ name: string } & MinuteSum)[];
}

const SECONDS = 60;
/** Of a second; what comes after them is in the sum of all alone. */
const MAX_MODELS = 100;

interface Bucket {
  /** Since the start of the clock. */
  second: number;
  total: MinuteSum;
  models: Map<string, MinuteSum>;
}

/** What has ended within the last minute: rates for people, who have nothing at hand that keeps a history. */
export class LastMinute {
  readonly #startedAt: number;
  readonly #buckets: (Bucket | undefined)[] = Array.from({ length: SECONDS }, () => undefined);

  /** @param startedAt of the relay, in ms */
  constructor(startedAt: number) {
    this.#startedAt = startedAt;
  }

  add(record: RequestRecord): void {
    const bucket = this.#bucketOf(Math.floor(record.endedAt / 1_000));
    count(bucket.total, record);
    // Clients can make up names of models; the rest are those that workers have offered.
    if (record.queuedAt === undefined || record.reason === "model_not_found") return;
    let sum = bucket.models.get(record.model);
    if (sum === undefined) {
      if (bucket.models.size >= MAX_MODELS) return;
      sum = nothing();
      bucket.models.set(record.model, sum);
    }
    count(sum, record);
  }

  view(nowMs: number): MinuteView {
    const total = nothing();
    const models = new Map<string, MinuteSum>();
    const oldest = Math.floor(nowMs / 1_000) - SECONDS;
    for (const bucket of this.#buckets) {
      if (bucket === undefined || bucket.second <= oldest) continue;
      addTo(total, bucket.total);
      for (const [name, sum] of bucket.models) {
        const all = models.get(name) ?? nothing();
        addTo(all, sum);
        models.set(name, all);
      }
    }
    const secs = Math.min(SECONDS, Math.max(1, Math.ceil((nowMs - this.#startedAt) / 1_000)));
    return { secs, ...total, models: [...models].map(([name, sum]) => ({ name, ...sum })) };
  }

  #bucketOf(second: number): Bucket {
    const at = second % SECONDS;
    const known = this.#buckets[at];
    if (known?.second === second) return known;
    const bucket = { second, total: nothing(), models: new Map<string, MinuteSum>() };
    this.#buckets[at] = bucket;
    return bucket;
  }
}

function nothing(): MinuteSum {
  return { requests: 0, failed: 0, prompt_tokens: 0, completion_tokens: 0 };
}

function count(sum: MinuteSum, { outcome, tokens }: RequestRecord): void {
  sum.requests++;
  if (outcome === "failed") sum.failed++;
  if (tokens === undefined) return;
  sum.prompt_tokens += tokens.prompt;
  sum.completion_tokens += tokens.completion;
}

function addTo(sum: MinuteSum, more: MinuteSum): void {
  sum.requests += more.requests;
  sum.failed += more.failed;
  sum.prompt_tokens += more.prompt_tokens;
  sum.completion_tokens += more.completion_tokens;
}
