import type { Clock } from "../base/clock.ts";
import { localUrl } from "../base/ip-address.ts";
import { CLOSE } from "../protocol/limits.ts";
import type { Log } from "../base/log.ts";
import { createAdmin } from "./admin/index.ts";
import type { AdminRoute } from "./admin/admin-desk.ts";
import { BodyReader } from "./body.ts";
import type { Bodies } from "./bodies/index.ts";
import { createClientAdmission } from "./client-admission.ts";
import { accessLog } from "./access-log.ts";
import type { CertificateReport } from "../tls/source.ts";
import type { ListenAddress, RelayConfig } from "./config.ts";
import { CorsPolicy } from "./cors.ts";
import type { Connection } from "./connection.ts";
import { Departure } from "./departure.ts";
import { placeOf, type Heritage } from "./heritage.ts";
import type { KeyRing } from "./keys/key-ring.ts";
import { KnownSecret } from "./known-secret.ts";
import { LinkAcceptor, SECRET_REVOKED } from "./link-acceptor.ts";
import { RequestLimits, type UsedTokens } from "./limits/request-limits.ts";
import type { LocalProof } from "./local-proof.ts";
import { Ledger } from "./ledger.ts";
import type { Listener, ListenerHandlers, SocketSession } from "./listener.ts";
import { metricsResponse, type MetricsAccess } from "./metrics/endpoint.ts";
import { createMetrics } from "./metrics/index.ts";
import { Relay } from "./relay.ts";
import { createRoutes, type Handler } from "./routes.ts";
import { plainDoor, runBehind, type Household, type RunningRelay } from "./running-relay.ts";
import { listenForSuccession } from "./shared-port.ts";
import type { StoreHealth } from "./store/store-health.ts";
import { SilenceTicket } from "./stream-check.ts";
import { openTlsDoor, type TlsDoor, type TlsDoorParts } from "./tls-door.ts";
import { createTracing } from "./trace/tracing.ts";
import { createTrustedProxies } from "./trusted-proxy.ts";
import type { Usage } from "./usage/index.ts";
import { WorkerAdmission } from "./worker-admission.ts";
import type { WorkerTicket } from "./worker-connect.ts";
import { createWorkerDoor } from "./worker-door.ts";
import type { WorkerSocket } from "./worker-session.ts";

export type { RunningRelay } from "./running-relay.ts";

export interface StartDependencies {
  clock: Clock;
  log: Log;
  /** In [0, 1); spreads the rests of failing workers. */
  random?: () => number;
  /** What is known of the relay's own certificates. */
  certificates?: () => readonly CertificateReport[];
  /** The keys and worker secrets of the database. */
  ring?: KeyRing;
  /** What operators can ask for beside keys, workers and totals. */
  adminRoutes?: readonly AdminRoute[];
  /** What keys have used, for their budgets. */
  usedTokens?: UsedTokens;
  /** Whether the database serves; absent where there is none. */
  storeHealth?: () => StoreHealth;
  /** Keeps a record of each request; closed with the relay. */
  usage?: Usage;
  /** Keeps what is asked and answered, where that is wanted; closed with the relay. */
  bodies?: Bodies | undefined;
  /** Shows commands on this machine that it is this relay. */
  proof?: LocalProof | undefined;
  /** Of the process whose place this relay takes; absent for none. */
  heritage?: Heritage | undefined;
}

/** Time that workers get to come here from the process before this one. */
const EXPECTING_MS = 15_000;

/** A relay without its port: requests and worker sockets are handed to it. */
export interface RelayApp extends Household {
  request: Handler;
  worker(ticket: WorkerTicket, socket: WorkerSocket): SocketSession;
}

/** A relay that listens on one plain port. */
export interface PlainRelay extends RunningRelay {
  readonly host: string;
  readonly port: number;
  /** `http://host:port`, as a client on this machine would write it. */
  readonly url: string;
}

/** Puts a relay together; opens nothing. */
export function createRelayApp(
  config: RelayConfig,
  {
    clock,
    log,
    random = Math.random,
    certificates = () => [],
    ring,
    adminRoutes: routes = [],
    usedTokens,
    storeHealth,
    usage,
    bodies,
    proof,
    heritage,
  }: StartDependencies,
): RelayApp {
  const relay = new Relay(config, { clock, log, random });
  const bodyReader = new BodyReader(relay.budget, clock);
  let departure: Departure | undefined;
  const metrics = createMetrics({ relay, clock, certificates, storeHealth, usage, bodies });
  const admission = new WorkerAdmission(config.workerSecret, clock, ring);
  const acceptor = new LinkAcceptor({
    clock,
    log,
    events: metrics.counting(relay.sessionEvents),
    window: config.linkWindow,
    graceMs: config.linkGraceMs,
    holds: ({ secret }) => admission.holds(secret),
    isLeaving: () => departure !== undefined,
  });
  if (ring !== undefined)
    ring.workerSecretsChanged = () => {
      for (const session of relay.sessions.values())
        if (!admission.holds(session.secret)) session.close(CLOSE.restart, SECRET_REVOKED);
    };
  const clients = createClientAdmission({
    apiKey: config.apiKey,
    ring,
    isKeyRequired: config.requireApiKeys ?? config.apiKey !== undefined,
    clock,
  });
  const { adminToken } = config;
  const admin =
    adminToken === undefined || ring === undefined
      ? undefined
      : createAdmin({
          token: adminToken,
          relay,
          bodies: bodyReader,
          ring,
          routes: [...routes, ...(usage?.routes ?? [])],
          clock,
          log,
        });
  const proxies = createTrustedProxies(config.trustedProxy);
  const tracing = config.tracing && createTracing(config.tracing, { clock, log, random });
  const limits = new RequestLimits({ clock, log, limits: config.limits, usedTokens });
  const ledger = new Ledger(
    [
      limits.ended,
      accessLog(log),
      metrics.ended,
      ...(admin === undefined ? [] : [admin.ended]),
      ...(tracing === undefined ? [] : [tracing.ended]),
      ...(usage === undefined ? [] : [usage.ended]),
      ...(bodies === undefined ? [] : [bodies.ended]),
    ],
    log,
  );
  let cors = new CorsPolicy(config.corsOrigin);
  if (heritage !== undefined) {
    relay.tell({ type: "models_expected", models: heritage.models });
    clock.after(EXPECTING_MS, () => relay.tell({ type: "models_expected", models: [] }));
  }

  const addressOf = (request: Request, connection: Connection) =>
    proxies.clientAddress(connection.address, request.headers);
  const metricsAccess: MetricsAccess = {
    open: config.openMetrics ?? false,
    tokens: [config.metricsToken, config.adminToken]
      .filter((token) => token !== undefined)
      .map((token) => new KnownSecret(token)),
  };
  const handle = createRoutes({
    relay,
    bodyReader,
    clock,
    log,
    cors: () => cors,
    clients,
    limits,
    isOurs: (value) => admission.isSecret(value) || clients.isKey(value) || admin?.isToken(value) === true,
    addressOf,
    connectWorker: createWorkerDoor({ admission, addressOf, log }),
    admin: admin?.request,
    certificates,
    tracing,
    bodies,
    proof,
    warnings: () => [
      ...databaseTroubles(storeHealth?.()),
      ...(usage?.warnings() ?? []),
      ...(bodies?.warnings() ?? []),
    ],
    metrics(request) {
      ledger.flush();
      return metricsResponse(metrics, metricsAccess, request);
    },
    ended(record) {
      limits.left(record);
      ledger.add(record);
    },
  });

  return {
    relay,
    request: handle,
    worker: (ticket, socket) => acceptor.accept(ticket, socket),
    reload(changed) {
      relay.reload(changed);
      cors = new CorsPolicy(relay.config.corsOrigin);
      limits.configure(relay.config.limits);
    },
    depart: (timeoutMs) => (departure ??= new Departure(relay, timeoutMs)),
    onlookers: () => usage?.onlookers?.() ?? 0,
    finish: async (limitMs) => {
      ledger.flush();
      bodyReader.close();
      await Promise.all([tracing?.finish(limitMs), usage?.close(), bodies?.close()]);
    },
  };
}

/**
 * Starts a relay on a plain port.
 *
 * @throws {Problem} if the address cannot be had
 */
export function startRelay(
  config: RelayConfig & { listen: ListenAddress },
  dependencies: StartDependencies,
): PlainRelay {
  const app = createRelayApp(config, dependencies);
  const place = placeOf(config.listen, dependencies.heritage?.ports.plain);
  const listener = listenForSuccession(place, sendLimitOf(config), handlersOf(app));
  const running = runBehind([plainDoor(listener)], app, dependencies.clock);
  return Object.assign(running, {
    host: listener.host,
    port: listener.port,
    url: localUrl("http", listener.host, listener.port),
  });
}

export interface TlsRelay extends RunningRelay {
  readonly door: TlsDoor;
  /** The plain port that was asked for as well. */
  readonly plainUrl: string | undefined;
}

/**
 * Starts a relay behind HTTPS, and on a plain port as well if one is named.
 *
 * @throws {Problem} if an address cannot be had, or the certificates' source cannot be used
 */
export async function startTlsRelay(
  config: RelayConfig & { listen?: ListenAddress | undefined },
  tls: Omit<TlsDoorParts, "sendLimit" | "clock" | "log">,
  dependencies: StartDependencies,
): Promise<TlsRelay> {
  const { clock, log, heritage } = dependencies;
  const reports = { current: (): readonly CertificateReport[] => [] };
  const app = createRelayApp(config, { ...dependencies, certificates: () => reports.current() });
  const sendLimit = sendLimitOf(config);
  const handlers = handlersOf(app);
  let plain: Listener | undefined;
  const openPlain = (): void => {
    if (config.listen === undefined) return;
    plain = listenForSuccession(placeOf(config.listen, heritage?.ports.plain), sendLimit, handlers);
  };
  // Whoever takes a place looks first whether there are certificates.
  if (heritage === undefined) openPlain();
  let door: TlsDoor | undefined;
  try {
    const opened = await openTlsDoor(handlers, { ...tls, sendLimit, clock, log, heritage });
    door = opened;
    reports.current = () => opened.reports();
    if (heritage !== undefined) openPlain();
    const running = runBehind(plain === undefined ? [door] : [door, plainDoor(plain)], app, clock);
    return Object.assign(running, {
      door,
      plainUrl: plain && localUrl("http", plain.host, plain.port),
    });
  } catch (error) {
    await Promise.all([plain?.stop(), door?.stop()]);
    throw error;
  }
}

/** Requests wait for a worker in memory that is budgeted; JSON escaping can make them longer. */
function sendLimitOf(config: RelayConfig): number {
  return 2 * config.maxInflightBytes;
}

/** Where nothing was written since it failed, nothing else tells of it. */
function databaseTroubles(health: StoreHealth | undefined): string[] {
  return health === undefined || health.ok ? [] : [`the database does not serve: ${health.reason}`];
}

function handlersOf(app: RelayApp): ListenerHandlers {
  return {
    request: (request, connection) => app.request(request, connection),
    socket: (ticket, socket) =>
      ticket instanceof SilenceTicket ? ticket.open(socket) : app.worker(ticket as WorkerTicket, socket),
  };
}
