import { RawClient } from "../faults/raw-client.ts";
import { connectRawWorker, SECRET } from "../support/relays.ts";
import { startBinaryFleet, type Holdings } from "./fleet.ts";
import { bodyOf, startPacedBackend } from "./paced-backend.ts";

export interface ScaleOptions {
  /** Workers that are connected and do nothing. */
  idle: number;
  /** Streams at once, over `workers` workers. */
  streams: number;
  workers: number;
  events: number;
  gapMs: number;
}

export interface ScaleResult {
  /** Streams whose bytes were not those that were sent. */
  wrong: number[];
  /** Most streams that the backend had at once. */
  atOnce: number;
  tookMs: number;
  relay: { alone: Holdings; withIdle: Holdings; streaming: Holdings; after: Holdings };
  /** Of the first of the workers, while it streamed. */
  worker: Holdings;
  left: { workers: number; requests: number; bytesHeld: number; queued: number };
}

interface Health extends Record<string, unknown> {
  workers_connected: number;
  requests_in_flight: number;
  bytes_held: number;
  queue_depth: number;
}

/** Connections that are opened at a time; the kernel's queue of new ones is short. */
const AT_A_TIME = 100;

async function inTurns<T>(count: number, open: (index: number) => Promise<T>): Promise<T[]> {
  const all: T[] = [];
  for (let at = 0; at < count; at += AT_A_TIME) {
    const indexes = Array.from({ length: Math.min(AT_A_TIME, count - at) }, (_, index) => at + index);
    all.push(...(await Promise.all(indexes.map(open))));
  }
  return all;
}

/** One relay of the executable, with many workers that wait and many streams that run, at once. */
export async function runScale(options: ScaleOptions): Promise<ScaleResult> {
  const { idle, streams, workers, events, gapMs } = options;
  await using backend = startPacedBackend();
  await using fleet = await startBinaryFleet(backend.url, {
    workers,
    worker: [`--max-concurrency=${Math.ceil(streams / workers)}`],
    serve: [`--max-queue-len=${streams}`],
  });
  const alone = fleet.relay.holdings();
  const idlers = await inTurns(idle, async (index) => {
    const worker = await connectRawWorker(fleet.url, "", SECRET, "v2");
    await worker.register([`idle-${index}`]);
    return worker;
  });
  await fleet.health<Health>((health) => health.workers_connected === idle + workers);
  const withIdle = fleet.relay.holdings();

  const begun = performance.now();
  const clients = await inTurns(streams, (seed) =>
    RawClient.chat(fleet.port, { stream: true, seed, events, gapMs }),
  );
  await Promise.all(clients.map((client) => client.head()));
  const streaming = fleet.relay.holdings();
  const worker = fleet.workers[0]!.holdings();
  const bodies = await Promise.all(clients.map((client) => client.answer()));
  const tookMs = performance.now() - begun;
  const wrong = bodies.flatMap((body, seed) =>
    body.equals(Buffer.from(bodyOf({ seed, events }))) ? [] : [seed],
  );
  const health = await fleet.health<Health>((now) => now.requests_in_flight === 0);
  const after = fleet.relay.holdings();
  for (const idler of idlers) idler.close();
  return {
    wrong,
    atOnce: backend.most,
    tookMs,
    relay: { alone, withIdle, streaming, after },
    worker,
    left: {
      workers: health.workers_connected,
      requests: health.requests_in_flight,
      bytesHeld: health.bytes_held,
      queued: health.queue_depth,
    },
  };
}
