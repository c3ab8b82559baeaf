import { CLOSE } from "../../protocol/limits.ts";
import { loadOf, type CoreWorker } from "../core/registry.ts";
import type { Relay } from "../relay.ts";
import type { RequestRecord } from "../request-record.ts";
import type { SessionEvents, WorkerSession } from "../worker-session.ts";
import { labelText, type Exposition } from "./exposition.ts";
import { OTHER } from "./labels.ts";

/** Names of workers with series of their own. */
export const MAX_WORKER_LABELS = 500;
/** For so long a worker that has gone is still told of, as one that is down; in ms. */
export const GONE_AFTER_MS = 3_600_000;

/** What is counted under one name, whoever has it. */
class WorkerSeries {
  joins = 0;
  losses = 0;
  suspensions = 0;
  resumes = 0;
  requests = 0;
  errors = 0;
}

/** How the workers of one name stand now, added up. */
interface Standing {
  up: number;
  load: number;
  inFlight: number;
  capacity: number;
  suspended: number;
  draining: number;
  resting: number;
  roundTripMs: number | undefined;
}

/** What is known of workers, by their names: an id would be a new series with each connection. */
export class WorkerMetrics {
  readonly #relay: Relay;
  readonly #series = new Map<string, WorkerSeries>();
  /** When the last worker of a name went, in the order in which they went. */
  readonly #gone = new Map<string, number>();

  constructor(relay: Relay) {
    this.#relay = relay;
  }

  /** The same events, counted. What comes with each token is handed on as it is. */
  counting(events: SessionEvents, now: () => number): SessionEvents {
    return {
      ...events,
      registered: (session, registration) => {
        events.registered(session, registration);
        this.#gone.delete(nameOf(session));
        this.#joining(session).joins++;
      },
      suspended: (session) => {
        this.#of(session).suspensions++;
        events.suspended(session);
      },
      resumed: (session) => {
        this.#of(session).resumes++;
        events.resumed(session);
      },
      lost: (session) => {
        events.lost(session);
        const name = nameOf(session);
        const series = this.#of(session);
        if (session.closeCode !== CLOSE.normal && session.closeCode !== CLOSE.restart) series.losses++;
        if (this.#series.has(name) && !this.#isConnected(name)) this.#gone.set(name, now());
      },
    };
  }

  ended(record: RequestRecord): void {
    if (record.worker === undefined) return;
    const series = this.#series.get(record.worker) ?? this.#series.get(OTHER);
    if (series === undefined) return;
    series.requests++;
    if (record.outcome === "failed" || (record.outcome === "complete" && record.status >= 500))
      series.errors++;
  }

  write(out: Exposition, now: number): void {
    for (const [, goneAt] of this.#gone) {
      if (now - goneAt <= GONE_AFTER_MS) break;
      this.#removeGone();
    }
    const standings = this.#standings(now);
    const rows = [...this.#series].map(([name, series]) => ({
      labels: labelText({ worker: name }),
      series,
      standing: standings.get(name) ?? nobody(),
    }));
    for (const [name, help, of] of GAUGES) {
      out.family(name, "gauge", help);
      for (const { labels, standing } of rows) {
        const value = of(standing);
        if (value !== undefined) out.sample(labels, value);
      }
    }
    for (const [name, help, of] of COUNTERS) {
      out.family(name, "counter", help);
      for (const { labels, series } of rows) out.sample(labels, of(series));
    }
  }

  #standings(now: number): Map<string, Standing> {
    const standings = new Map<string, Standing>();
    for (const worker of this.#relay.core.registry.values()) {
      const label = this.#series.has(worker.name) ? worker.name : OTHER;
      let standing = standings.get(label);
      if (standing === undefined) standings.set(label, (standing = nobody()));
      addUp(standing, worker, this.#relay.sessions.get(worker.id)?.roundTripMs, now);
    }
    return standings;
  }

  #of(session: WorkerSession): WorkerSeries {
    return this.#series.get(nameOf(session)) ?? this.#add(OTHER);
  }

  /** The series of a worker that has just joined: one of those that have gone makes room for it. */
  #joining(session: WorkerSession): WorkerSeries {
    const name = nameOf(session);
    const held = this.#series.get(name);
    if (held !== undefined) return held;
    if (this.#series.size >= MAX_WORKER_LABELS && !this.#removeGone()) return this.#add(OTHER);
    return this.#add(name);
  }

  #add(name: string): WorkerSeries {
    let series = this.#series.get(name);
    if (series === undefined) this.#series.set(name, (series = new WorkerSeries()));
    return series;
  }

  /** Takes away the one that went first. */
  #removeGone(): boolean {
    const [first] = this.#gone.keys();
    if (first === undefined) return false;
    this.#gone.delete(first);
    return this.#series.delete(first);
  }

  #isConnected(name: string): boolean {
    for (const worker of this.#relay.core.registry.values()) if (worker.name === name) return true;
    return false;
  }
}

function nameOf(session: WorkerSession): string {
  return session.name ?? session.id;
}

function nobody(): Standing {
  return {
    up: 0,
    load: 0,
    inFlight: 0,
    capacity: 0,
    suspended: 0,
    draining: 0,
    resting: 0,
    roundTripMs: undefined,
  };
}

function addUp(to: Standing, worker: CoreWorker, roundTripMs: number | undefined, now: number): void {
  to.up++;
  to.load += loadOf(worker);
  to.inFlight += worker.held.size;
  to.capacity += worker.maxConcurrent;
  to.suspended += Number(worker.suspended);
  to.draining += Number(worker.draining);
  to.resting += Number(worker.restUntil > now);
  if (roundTripMs !== undefined) to.roundTripMs = Math.max(roundTripMs, to.roundTripMs ?? 0);
}

const GAUGES: [name: string, help: string, of: (standing: Standing) => number | undefined][] = [
  [
    "modelrelay_worker_up",
    "Workers of this name that are connected; 0 for an hour after the last has gone",
    ({ up }) => up,
  ],
  [
    "modelrelay_worker_load",
    "Requests that a worker is busy with, those of others included",
    ({ load }) => load,
  ],
  ["modelrelay_worker_in_flight", "Requests that a worker has from this relay", ({ inFlight }) => inFlight],
  ["modelrelay_worker_capacity", "Requests that a worker takes at once", ({ capacity }) => capacity],
  [
    "modelrelay_worker_suspended",
    "Workers of this name whose connection is lost and that may come back with their requests",
    ({ suspended }) => suspended,
  ],
  ["modelrelay_worker_draining", "Workers of this name that get no new requests", ({ draining }) => draining],
  [
    "modelrelay_worker_resting",
    "Workers of this name that have failed several times in a row and are passed over for a while",
    ({ resting }) => resting,
  ],
  [
    "modelrelay_worker_round_trip_seconds",
    "Time of the last heartbeat, there and back; the slowest one of this name",
    ({ roundTripMs }) => (roundTripMs === undefined ? undefined : roundTripMs / 1_000),
  ],
];

const COUNTERS: [name: string, help: string, of: (series: WorkerSeries) => number][] = [
  [
    "modelrelay_worker_requests_total",
    "Requests that have ended, by the worker that had them last",
    ({ requests }) => requests,
  ],
  [
    "modelrelay_worker_errors_total",
    "Of these, those that failed or were answered with 5xx",
    ({ errors }) => errors,
  ],
  ["modelrelay_worker_joins_total", "Times that a worker has registered", ({ joins }) => joins],
  [
    "modelrelay_worker_losses_total",
    "Times that a worker was lost for good, without saying goodbye",
    ({ losses }) => losses,
  ],
  [
    "modelrelay_worker_suspensions_total",
    "Times that a connection was lost and its requests waited",
    ({ suspensions }) => suspensions,
  ],
  [
    "modelrelay_worker_resumes_total",
    "Times that a worker went on over another connection",
    ({ resumes }) => resumes,
  ],
];
