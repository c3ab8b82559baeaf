import { messageOf, Problem } from "../base/errors.ts";
import type { MinuteSum, MinuteView } from "../server/admin/last-minute.ts";
import { refusedByRelay } from "./operator.ts";
import { callRelay, type RelayAddress } from "./relay-call.ts";
import {
  healthAnswer,
  readAnswer,
  readinessAnswer,
  statsAnswer,
  workersAnswer,
  type CertificateView,
  type WorkerView,
} from "./status-answers.ts";

/** Of the last minute, or since the start of a relay that is younger. */
export interface RatesView {
  requests_per_sec: number;
  failed: number;
  prompt_tokens_per_sec: number;
  completion_tokens_per_sec: number;
}

export interface ModelView {
  name: string;
  /** Connected workers that offer it. */
  workers: number;
  /** `null` where they are not known. */
  rates: RatesView | null;
}

/** What `modelrelay status --json` prints. */
export interface StatusView {
  /** ISO 8601. */
  at: string;
  relay: string;
  version: string;
  uptime_secs: number;
  ready: boolean;
  /** Why it is not ready. */
  reasons: string[];
  warnings: string[];
  requests_in_flight: number;
  queue_depth: number;
  queued_by_priority: Record<string, number>;
  bytes_held: number;
  /** Of requests that ended within the last minute; `null` without the admin token. */
  rates: RatesView | null;
  workers: WorkerView[];
  models: ModelView[];
  certificates: CertificateView[];
  /** Why some of it is missing. */
  notes: string[];
  /** Whether the relay was shown an admin token that it took; `null` if it was shown none. */
  token_accepted: boolean | null;
}

const TOLD_WITH_TOKEN = "rates are told to whoever shows the admin token: --admin-token-file";
/** As people count: 9 before 10. */
const { compare } = new Intl.Collator("en", { numeric: true });

/** How a relay is looked at. */
export interface Looking {
  relay: RelayAddress;
  token: string | undefined;
  /** Somebody gave it: that it is wrong must not pass for a relay that tells little. */
  isGiven: boolean;
  timeoutMs: number;
}

/** The relay takes no such admin token: asking with it again would be taken for guessing. */
export class TokenRefused extends Problem {}

/** @throws {RelayUnreachable}, {TokenRefused} for a token that was given, {Problem} if what answers is no relay */
export async function lookAtRelay(looking: Looking, wallMs: number): Promise<StatusView> {
  const { relay, timeoutMs } = looking;
  const [health, readiness] = await Promise.all([
    callRelay(relay, "/health", { timeoutMs }),
    callRelay(relay, "/readyz", { timeoutMs }),
  ]);
  const facts = readAnswer(healthAnswer, health);
  const state = readAnswer(readinessAnswer, readiness);
  if (facts === undefined || state === undefined) throw notOurs(relay);
  const more = await askMore(looking);
  const workers = more.workers ?? facts.workers;
  return {
    at: new Date(wallMs).toISOString(),
    relay: relay.url,
    version: facts.version,
    uptime_secs: facts.uptime_secs,
    ...state,
    requests_in_flight: facts.requests_in_flight,
    queue_depth: facts.queue_depth,
    queued_by_priority: facts.queued_by_priority,
    bytes_held: facts.bytes_held,
    rates: more.minute === undefined ? null : ratesOf(more.minute, more.minute.secs),
    workers: workers.toSorted((a, b) => compare(a.name, b.name) || compare(a.id, b.id)),
    models: modelsOf(workers, more.minute),
    certificates: facts.certificates,
    notes: more.notes,
    token_accepted: more.tokenAccepted,
  };
}

interface More {
  workers?: WorkerView[];
  minute?: MinuteView;
  notes: string[];
  tokenAccepted: boolean | null;
}

/** What only operators are told. */
async function askMore({ relay, token, isGiven, timeoutMs }: Looking): Promise<More> {
  if (token === undefined) return { notes: [TOLD_WITH_TOKEN], tokenAccepted: null };
  const call = { token, timeoutMs };
  const [workers, stats] = await Promise.all([
    callRelay(relay, "/admin/workers", call),
    callRelay(relay, "/admin/stats", call),
  ]);
  const refused = [workers, stats].find(({ status }) => status !== 200);
  if (refused !== undefined && isGiven && refused.status === 401) {
    const { message, action = "" } = refusedByRelay(relay.url, refused.status, refused.text);
    throw new TokenRefused(message, { action });
  }
  const list = workers.status === 200 ? readAnswer(workersAnswer, workers) : undefined;
  const sums = stats.status === 200 ? readAnswer(statsAnswer, stats) : undefined;
  if (refused === undefined && (list === undefined || sums === undefined)) throw notOurs(relay);
  const minute = sums?.last_minute;
  const notes =
    refused !== undefined
      ? [`no rates: ${messageOf(refusedByRelay(relay.url, refused.status, refused.text))}`]
      : minute === undefined
        ? ["no rates: the relay is of a version that does not tell them"]
        : [];
  return {
    ...(list !== undefined && { workers: list.workers }),
    ...(minute !== undefined && { minute }),
    notes,
    tokenAccepted: refused?.status !== 401,
  };
}

function ratesOf(sum: MinuteSum, secs: number): RatesView {
  const perSec = (count: number): number => Math.round((count / secs) * 100) / 100;
  return {
    requests_per_sec: perSec(sum.requests),
    failed: sum.failed,
    prompt_tokens_per_sec: perSec(sum.prompt_tokens),
    completion_tokens_per_sec: perSec(sum.completion_tokens),
  };
}

const NONE: MinuteSum = { requests: 0, failed: 0, prompt_tokens: 0, completion_tokens: 0 };

/** Those that are offered, and those that were asked for within the last minute. */
function modelsOf(workers: readonly WorkerView[], minute: MinuteView | undefined): ModelView[] {
  const counts = new Map<string, number>();
  for (const model of workers.flatMap(({ models }) => models))
    counts.set(model, (counts.get(model) ?? 0) + 1);
  const asked = new Map(minute?.models.map((sum) => [sum.name, sum]));
  return [...new Set([...counts.keys(), ...asked.keys()])].toSorted(compare).map((name) => ({
    name,
    workers: counts.get(name) ?? 0,
    rates: minute === undefined ? null : ratesOf(asked.get(name) ?? NONE, minute.secs),
  }));
}

function notOurs({ url }: RelayAddress): Problem {
  return new Problem(`Cannot tell how the relay at ${url} is: what answers there is no modelrelay`, {
    action: "Name the relay's address with --url, with its port",
  });
}
