import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { newRequestId } from "./api.ts";
import { relayError } from "./client-error.ts";
import type { ReloadableConfig, RelayConfig } from "./config.ts";
import { CorsPolicy } from "./cors.ts";
import type { Connection } from "./connection.ts";
import { errorResponse } from "./error-response.ts";
import { listen, type Listener } from "./listener.ts";
import { Relay } from "./relay.ts";
import { createRoutes, type Handler } from "./routes.ts";
import { WorkerAdmission } from "./worker-admission.ts";
import { admitWorker, type WorkerTicket } from "./worker-connect.ts";
import { WorkerSession, type WorkerSocket } from "./worker-session.ts";

export interface StartDependencies {
  clock: Clock;
  log: Log;
  /** In [0, 1); spreads the rests of failing workers. */
  random?: () => number;
}

/** A relay without its port: requests and worker sockets are handed to it. */
export interface RelayApp {
  readonly relay: Relay;
  request: Handler;
  worker(ticket: WorkerTicket, socket: WorkerSocket): WorkerSession;
  reload(changed: Partial<ReloadableConfig>): void;
}

/** A relay that is listening. */
export interface RunningRelay {
  readonly relay: Relay;
  readonly host: string;
  readonly port: number;
  /** `http://host:port`, as a client on this machine would write it. */
  readonly url: string;
  reload(changed: Partial<ReloadableConfig>): void;
  /** Takes no new work, lets running requests finish within the drain time, and closes. Idempotent. */
  drain(): Promise<void>;
  /** Closes at once. */
  stop(): Promise<void>;
}

/** Puts a relay together; opens nothing. */
export function createRelayApp(
  config: RelayConfig,
  { clock, log, random = Math.random }: StartDependencies,
): RelayApp {
  const relay = new Relay(config, { clock, log, random });
  const admission = new WorkerAdmission(config.workerSecret, clock);
  let cors = new CorsPolicy(config.corsOrigin);

  const connectWorker = (
    request: Request,
    target: { path: string; query: string },
    connection: Connection,
  ) => {
    const requestId = newRequestId();
    const ticket = admitWorker(request, target, connection.address, admission, requestId);
    if (ticket instanceof Response) {
      // Throttled attempts come as fast as anybody likes to send them: the log must not grow with them.
      const level = ticket.status === 429 ? "debug" : "warn";
      log[level]("A worker was refused", { address: connection.address, status: ticket.status });
      return ticket;
    }
    return connection.upgrade(ticket)
      ? undefined
      : errorResponse(
          relayError(400, "invalid_request", "The WebSocket handshake is incomplete"),
          "openai",
          requestId,
        );
  };

  const handle = createRoutes({
    relay,
    clock,
    log,
    cors: () => cors,
    isOurs: (value) => admission.isSecret(value),
    connectWorker,
  });

  return {
    relay,
    request: handle,
    worker(ticket, socket) {
      const id = `w_${crypto.randomUUID().replaceAll("-", "").slice(0, 20)}`;
      return new WorkerSession(socket, relay.sessionEvents, { id, ...ticket, clock, log });
    },
    reload(changed) {
      relay.reload(changed);
      cors = new CorsPolicy(relay.config.corsOrigin);
    },
  };
}

/**
 * Starts a relay.
 *
 * @throws {Problem} if the address cannot be had
 */
export function startRelay(config: RelayConfig, dependencies: StartDependencies): RunningRelay {
  const app = createRelayApp(config, dependencies);
  const { relay } = app;
  // Requests wait for a worker in memory that is budgeted; JSON escaping can make them longer.
  const sendLimit = 2 * config.maxInflightBytes;
  const listener: Listener = listen(config.listen, sendLimit, {
    request: (request, connection) => app.request(request, connection),
    worker: (ticket, socket) => app.worker(ticket as WorkerTicket, socket),
  });
  let drained: Promise<void> | undefined;

  async function drain(): Promise<void> {
    const { clock } = dependencies;
    const closed = listener.finish().then(() => true);
    const { drainTimeoutMs } = relay.config;
    const deadline = clock.now() + drainTimeoutMs;
    await relay.drain(drainTimeoutMs);
    // The last bytes may still be on their way, and a slow client has the rest of the time to read them.
    for (;;) {
      const lingered = Promise.withResolvers<false>();
      const limit = clock.after(LINGER_MS, () => lingered.resolve(false));
      const everybodyLeft = await Promise.race([closed, lingered.promise]);
      limit.cancel();
      if (everybodyLeft || relay.budget.held === 0 || clock.now() >= deadline) break;
    }
    await listener.stop();
  }

  return {
    relay,
    host: listener.host,
    port: listener.port,
    url: `http://${urlHost(listener.host)}:${listener.port}`,
    reload: (changed) => app.reload(changed),
    drain: () => (drained ??= drain()),
    stop: async () => {
      await relay.drain(0);
      await listener.stop();
    },
  };
}

/** Time that answers which are complete get to leave, in ms. */
const LINGER_MS = 1_000;

function urlHost(host: string): string {
  if (host === "0.0.0.0" || host === "::" || host === "") return "127.0.0.1";
  return host.includes(":") ? `[${host}]` : host;
}
