import { systemClock, type Clock } from "../../src/base/clock.ts";
import { silentLog, type Log } from "../../src/base/log.ts";
import type { Bodies } from "../../src/server/bodies/index.ts";
import { startRelay, type RunningRelay } from "../../src/server/index.ts";
import type { TracingConfig } from "../../src/server/trace/tracing.ts";
import type { Usage } from "../../src/server/usage/index.ts";
import {
  startWorker,
  type RunningWorker,
  type WorkerConfig,
  type WorkerEvent,
} from "../../src/worker/index.ts";
import { startCuttingProxy, type CuttingProxy, type Flow } from "../support/cutting-proxy.ts";
import { startFakeBackend, type FakeBackend } from "../support/fake-backend.ts";
import { Inbox } from "../support/inbox.ts";
import { relayConfig, SECRET, type RelaySettings } from "../support/relays.ts";

/** What is to happen to the bytes between two parts. */
export interface Between {
  up?: Flow;
  down?: Flow;
}

export interface RigOptions {
  relay?: RelaySettings & {
    apiKey?: string;
    tracing?: TracingConfig;
    openMetrics?: boolean;
    metricsToken?: string;
    adminToken?: string;
  };
  worker?: Partial<WorkerConfig>;
  relayClock?: Clock;
  relayLog?: Log;
  usage?: Usage;
  bodies?: Bodies;
  workerClock?: Clock;
  client?: Between;
  link?: Between;
  backend?: Between;
}

/** Client ── proxy ── relay ── proxy ── worker ── proxy ── backend, in this process. */
export interface Rig extends AsyncDisposable {
  relay: RunningRelay;
  worker: RunningWorker;
  backend: FakeBackend;
  clientProxy: CuttingProxy;
  linkProxy: CuttingProxy;
  backendProxy: CuttingProxy;
  /** Where a client connects: the proxy in front of the relay. */
  port: number;
  /** What the worker tells of itself. */
  events: Inbox<WorkerEvent>;
  /** The worker's next registration. */
  registered(): Promise<Extract<WorkerEvent, { kind: "registered" }>>;
  /** Looks at the relay's own status until it says so. */
  health<T extends Record<string, unknown>>(when: (health: T) => boolean): Promise<T>;
}

/** Resolves once the worker is registered; the model is "m". */
export async function startRig(options: RigOptions = {}): Promise<Rig> {
  const stack = new AsyncDisposableStack();
  const backend = stack.use(await startFakeBackend(["m"]));
  const backendProxy = stack.use(await startCuttingProxy({ target: backend.port, ...options.backend }));
  const relay = startRelay(relayConfig(options.relay ?? {}), {
    clock: options.relayClock ?? systemClock,
    log: options.relayLog ?? silentLog,
    ...(options.usage && { usage: options.usage }),
    bodies: options.bodies,
  });
  stack.defer(() => relay.stop());
  const clientProxy = stack.use(await startCuttingProxy({ target: relay.port, ...options.client }));
  const linkProxy = stack.use(await startCuttingProxy({ target: relay.port, ...options.link }));
  const events = new Inbox<WorkerEvent>();
  const worker = stack.use(
    startWorker(
      {
        proxyUrl: linkProxy.url,
        workerSecret: SECRET,
        backendUrl: backendProxy.url,
        models: { all: true, names: [] },
        workerName: "rig",
        maxConcurrency: 1,
        provider: "local",
        linkVersion: "v1",
        drainTimeoutMs: 30_000,
        firstByteTimeoutMs: 0,
        idleTimeoutMs: 0,
        ...options.worker,
      },
      {
        clock: options.workerClock ?? systemClock,
        log: silentLog,
        // No wait before the first redial.
        random: () => 0,
        onEvent: (event) => events.put(event),
      },
    ),
  );
  const registered: Rig["registered"] = async () =>
    (await events.next(({ kind }) => kind === "registered")) as Extract<WorkerEvent, { kind: "registered" }>;
  await registered();
  return {
    relay,
    worker,
    backend,
    clientProxy,
    linkProxy,
    backendProxy,
    port: clientProxy.port,
    events,
    registered,
    health: (when) => healthAt(relay.url, when),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Looks at a relay's status until it says so; each look waits for the last. */
export async function healthAt<T extends Record<string, unknown>>(
  url: string,
  when: (health: T) => boolean,
): Promise<T> {
  for (;;) {
    const response = await fetch(`${url}/health`, { keepalive: false });
    const health = (await response.json()) as T;
    if (when(health)) return health;
  }
}
