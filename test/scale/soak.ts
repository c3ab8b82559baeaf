import { startCuttingProxy, type CuttingProxy } from "../support/cutting-proxy.ts";
import { BinaryProgram, startBinaryFleet, type BinaryFleet, type Holdings } from "./fleet.ts";
import { startPacedBackend, type PacedBackend } from "./paced-backend.ts";
import { runTraffic, type Tally } from "./traffic.ts";

/** What relay and workers hold when nothing runs. */
export interface AtRest {
  relay: Holdings;
  /** One of v2, one that compresses, one of v1. */
  workers: Holdings[];
}

export interface SoakResult {
  before: AtRest;
  /** At the end of each round. */
  rounds: { tally: Tally; after: AtRest }[];
}

interface Health extends Record<string, unknown> {
  workers_connected: number;
  requests_in_flight: number;
  bytes_held: number;
  queue_depth: number;
  workers: { is_suspended: boolean; in_flight: number; load: number }[];
}

async function atRest(fleet: BinaryFleet, backend: PacedBackend): Promise<AtRest> {
  await fleet.health<Health>(
    (health) =>
      health.workers_connected === fleet.workers.length &&
      health.requests_in_flight + health.bytes_held + health.queue_depth + backend.running === 0 &&
      health.workers.every((worker) => !worker.is_suspended && worker.in_flight === 0 && worker.load === 0),
  );
  return {
    relay: fleet.relay.holdings(),
    workers: fleet.workers.map((worker) => worker.holdings()),
  };
}

/**
 * Mixed traffic with cuts on the executable. A round that warms up comes first: only after it is there a
 * beginning to compare with.
 *
 * @param rounds how long each takes, in ms
 */
export async function runSoak(
  warmUpMs: number,
  rounds: readonly number[],
  told: (tally: Tally, after: AtRest) => void = () => {},
): Promise<SoakResult> {
  await using stack = new AsyncDisposableStack();
  const backend = stack.use(startPacedBackend());
  let proxy: CuttingProxy | undefined;
  const worker = ["--max-concurrency=64"];
  const fleet = stack.use(
    await startBinaryFleet(backend.url, {
      worker,
      async linkUrl(relayUrl) {
        proxy = stack.use(await startCuttingProxy({ target: Number(new URL(relayUrl).port) }));
        return proxy.url;
      },
    }),
  );
  const more = (linkUrl: string, ...flags: string[]): BinaryProgram =>
    stack.use(
      new BinaryProgram("worker", [
        `--proxy-url=${linkUrl}`,
        `--backend-url=${backend.url}`,
        ...worker,
        ...flags,
      ]),
    );
  // A cut link of v1 is a lost worker, and its streams with it: that one is left alone.
  fleet.workers.push(more(proxy!.url, "--compress"), more(fleet.url, "--link-version=v1"));
  let seed = 0;
  const round = (forMs: number): Promise<Tally> =>
    runTraffic({
      port: fleet.port,
      forMs,
      clients: 24,
      seed: ++seed,
      cut(kind) {
        const links = [...proxy!.open];
        links[seed++ % Math.max(links.length, 1)]?.cut(kind);
      },
    });
  await atRest(fleet, backend);
  const warmUp = await round(warmUpMs);
  const before = await atRest(fleet, backend);
  const result: SoakResult = { before, rounds: [] };
  told(warmUp, before);
  for (const forMs of rounds) {
    const tally = await round(forMs);
    const after = await atRest(fleet, backend);
    result.rounds.push({ tally, after });
    told(tally, after);
  }
  return result;
}
