import type { Clock } from "../../base/clock.ts";
import type { CertificateReport } from "../../tls/source.ts";
import type { Relay } from "../relay.ts";
import type { RecordSink } from "../request-record.ts";
import type { StoreHealth } from "../store/store-health.ts";
import type { UsageBacklog } from "../usage/usage-writer.ts";
import type { SessionEvents } from "../worker-session.ts";
import { Exposition, type Format } from "./exposition.ts";
import { LoopLagMeter, type LoopLag } from "./loop-lag.ts";
import { countOpenFiles, ProcessMetrics } from "./process-metrics.ts";
import { writeCertificates, writeRelay, writeStore } from "./relay-gauges.ts";
import { RequestMetrics } from "./request-metrics.ts";
import { WorkerMetrics } from "./worker-metrics.ts";

/** What the relay tells Prometheus. */
export interface Metrics {
  /** Counts a request that has ended. */
  readonly ended: RecordSink;
  /** The sessions' events, counted on their way. */
  counting(events: SessionEvents): SessionEvents;
  /** Everything as text. What changes by itself, such as the queue's length, is looked at only here. */
  text(format: Format): Promise<string>;
}

export interface MetricsParts {
  relay: Relay;
  clock: Clock;
  certificates: () => readonly CertificateReport[];
  /** Absent where there is no database. */
  storeHealth?: (() => StoreHealth) | undefined;
  /** Absent where no usage is kept. */
  usage?: { backlog(): UsageBacklog } | undefined;
  /** Absent where bodies are not kept. */
  bodies?: { lost(): number } | undefined;
}

export function createMetrics({
  relay,
  clock,
  certificates,
  storeHealth,
  usage,
  bodies,
}: MetricsParts): Metrics {
  const { registry } = relay.core;
  const requests = new RequestMetrics({
    wasOffered: (model) => registry.wasOffered(model),
    offering: (model) => [...registry.offering(model)].filter((worker) => !worker.draining).length,
  });
  const workers = new WorkerMetrics(relay);
  const ownProcess = new ProcessMetrics(clock.wall());
  const lag = new LoopLagMeter();
  return {
    ended: (record) => {
      requests.ended(record);
      workers.ended(record);
    },
    counting: (events) => workers.counting(events, () => clock.now()),
    async text(format) {
      const openFiles = await countOpenFiles();
      const out = new Exposition(format);
      requests.tidy();
      requests.write(out);
      writeRelay(out, relay);
      workers.write(out, clock.now());
      writeStore(out, storeHealth?.(), usage?.backlog(), bodies?.lost());
      writeCertificates(out, certificates(), clock.wall());
      writeLag(out, lag.read(clock.now()));
      ownProcess.write(out, openFiles);
      return out.end();
    },
  };
}

function writeLag(out: Exposition, lag: LoopLag | undefined): void {
  if (lag === undefined) return;
  const since = "since the scrape before, looked at every 50 ms; from the second scrape on";
  const told = `How long the event loop kept what was due waiting, ${since}`;
  out.single("modelrelay_event_loop_lag_mean_seconds", "gauge", `${told}: the mean`, lag.mean);
  out.single("modelrelay_event_loop_lag_p50_seconds", "gauge", `${told}: half of the looks`, lag.p50);
  out.single("modelrelay_event_loop_lag_p99_seconds", "gauge", `${told}: 99 of 100 looks`, lag.p99);
  out.single("modelrelay_event_loop_lag_max_seconds", "gauge", `${told}: the longest`, lag.max);
}
