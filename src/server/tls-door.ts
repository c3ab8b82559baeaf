import type { Clock, Timer } from "../base/clock.ts";
import { errorCode, messageOf, Problem } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { CertificateReport, CertificateSource, Identity } from "../tls/source.ts";
import type { ListenAddress } from "./config.ts";
import { placeOf, type Heritage, type Ports } from "./heritage.ts";
import { listen, type Listener, type ListenerHandlers } from "./listener.ts";
import { createPlainPort } from "./plain-port.ts";
import { listenOnQuic, type QuicListener } from "./quic-listener.ts";
import { requestTarget } from "./request-target.ts";
import { listenSecurely, type SecureListener } from "./secure-listener.ts";
import { listenForSuccession } from "./shared-port.ts";
import { connectionsOn } from "./socket-table.ts";

/** The HTTPS port, and the plain one beside it that leads there. */
export interface TlsDoorConfig {
  https: ListenAddress;
  /** Absent for none. */
  http: ListenAddress | undefined;
  /** A door is of no use without its plain port, as the CA asks there. */
  httpIsNeeded: boolean;
  http2: boolean;
  http3: boolean;
  /** Seconds that browsers are to remember to use HTTPS alone; 0 = not said. */
  hstsSecs: number;
}

export interface TlsDoorParts {
  config: TlsDoorConfig;
  /** Opens the source of certificates; the plain port answers by then. */
  open: (onChange: (identities: readonly Identity[]) => void) => Promise<CertificateSource>;
  /** The answer to an ACME challenge. */
  challenge: (token: string) => Promise<string | undefined>;
  /** Told once, when the HTTPS port is open. */
  onOpen: (door: { httpsPort: number; identities: readonly Identity[] }) => void;
  sendLimit: number;
  clock: Clock;
  log: Log;
  /** Of the process whose place this one takes. */
  heritage?: Heritage | undefined;
}

/** A door that people and workers come in by. */
export interface Door {
  readonly ports: Ports;
  /** Requests over TCP that have no whole answer yet. */
  readonly pending: number;
  /** TCP connections on which a request may come yet; `undefined` where nobody can tell. */
  readonly idle: number | undefined;
  /** Resolves when each port has one socket, which stays the same one until `thaw`. */
  freeze(): Promise<void>;
  thaw(): void;
  /** Another process takes its place: whoever is here is asked to leave between two requests. */
  retire(): void;
  /** Accepts nobody else; resolves when everybody has left. */
  finish(): Promise<void>;
  /** Closes everything. */
  stop(): Promise<void>;
}

export interface TlsDoor extends Door {
  /** Absent while there is no certificate. */
  readonly httpsPort: number | undefined;
  reports(): readonly CertificateReport[];
  /** Looks at once for what has changed, or tries again what failed. */
  reload(): void;
}

/** Until a port that could not be had is asked for again. */
const REOPEN_MS = 5_000;
/** How long clients may remember that HTTP/3 is offered: a day, as the large sites say. */
const ALT_SVC_SECS = 86_400;
/** What a relay that has no certificate yet says of itself on its plain port. */
const STATUS_PATHS = new Set(["/readyz", "/livez", "/health"]);

/**
 * Opens the plain port, then the source of certificates, and the HTTPS port as soon as there is one.
 *
 * @throws {Problem} if a port cannot be had, or the source cannot be used at all
 */
export async function openTlsDoor(handlers: ListenerHandlers, parts: TlsDoorParts): Promise<TlsDoor> {
  const { config, sendLimit, clock, log, heritage } = parts;
  const https = placeOf(config.https, heritage?.ports.https);
  const domains: string[] = [];
  let secure: SecureListener | undefined;
  let quic: QuicListener | undefined;
  let reopening: Timer | undefined;
  let unserved: string | undefined;
  let starting = true;
  let closed = false;

  // What holds the port is to be told now, and not when an order has been spent.
  if (config.https.port !== 0 && !https.isTakenOver) {
    const take = () => listen(config.https, sendLimit, handlers);
    void advised({ flag: "--https-port", isNeeded: false }, take).stop();
  }
  let plain: Listener | undefined;
  // Whoever takes a place sees first whether it can fill it; a CA's questions are answered from there as well.
  if (heritage === undefined) plain = openPlain();
  const source = await openSource();
  if (heritage !== undefined) plain = openPlain();
  // A source may have one from the start, and need not have told.
  serve(source.identities());
  starting = false;

  async function openSource(): Promise<CertificateSource> {
    try {
      return await parts.open(serve);
    } catch (error) {
      await plain?.stop();
      throw error;
    }
  }

  function openPlain(): Listener | undefined {
    const { http } = config;
    if (http === undefined) return undefined;
    const redirect = createPlainPort({
      challenge: parts.challenge,
      get httpsPort() {
        return secure?.port ?? config.https.port;
      },
      get domains() {
        return domains;
      },
      log,
    });
    const request: ListenerHandlers["request"] = (given, connection) =>
      secure === undefined && STATUS_PATHS.has(requestTarget(given.url)?.path ?? "")
        ? handlers.request(given, connection)
        : redirect(given);
    try {
      const isNeeded = config.httpIsNeeded;
      return advised({ flag: "--http-port", isNeeded }, () =>
        listenForSuccession(placeOf(http, heritage?.ports.http), sendLimit, { ...handlers, request }),
      );
    } catch (error) {
      if (config.httpIsNeeded) throw error;
      log.warn(`Nothing leads from http to https: ${messageOf(error)}`, { port: http.port });
      return undefined;
    }
  }

  function serve(identities: readonly Identity[]): void {
    if (closed || identities.length === 0) return;
    domains.splice(0, domains.length, ...new Set(identities.flatMap(({ names }) => names)));
    if (secure !== undefined) {
      secure.replace(identities);
      quic?.replace(identities);
      return;
    }
    reopening?.cancel();
    try {
      openHttps(identities);
    } catch (error) {
      if (starting) throw error;
      unserved = messageOf(error);
      log.error(unserved);
      reopening = clock.after(REOPEN_MS, () => serve(source.identities()));
    }
  }

  function openHttps(identities: readonly Identity[]): void {
    const answering: ListenerHandlers = { ...handlers, request: answer };
    const { isTakenOver } = https;
    const released = isTakenOver ? heritage?.released : undefined;
    const opened = advised({ flag: "--https-port", isNeeded: false }, () =>
      listenSecurely(https.address, sendLimit, answering, identities, {
        http2: config.http2,
        clock,
        log,
        released,
      }),
    );
    const address = { host: opened.host, port: opened.port };
    try {
      if (config.http3)
        quic = listenOnQuic(address, sendLimit, answering, identities, { clock, log, isTakenOver });
    } catch (error) {
      void opened.stop();
      throw error;
    }
    secure = opened;
    unserved = undefined;
    parts.onOpen({ httpsPort: opened.port, identities });
  }

  /** The relay's answer, with what only this door has to say. */
  function answer(
    ...given: Parameters<ListenerHandlers["request"]>
  ): ReturnType<ListenerHandlers["request"]> {
    const response = handlers.request(...given);
    return response instanceof Promise ? response.then(complete) : complete(response);
  }

  function complete(response: Response | undefined): Response | undefined {
    if (config.hstsSecs > 0) response?.headers.set("strict-transport-security", `max-age=${config.hstsSecs}`);
    if (quic?.inviting === true)
      response?.headers.set("alt-svc", `h3=":${secure?.port ?? 443}"; ma=${ALT_SVC_SECS}`);
    return response;
  }

  async function close(how: (door: Pick<Door, "finish" | "stop">) => Promise<void>): Promise<void> {
    closed = true;
    reopening?.cancel();
    await source.close();
    await Promise.all([plain, secure, quic].filter((door) => door !== undefined).map(how));
  }

  return {
    get ports() {
      return { http: plain?.port, https: secure?.port };
    },
    get pending() {
      return (plain?.pending ?? 0) + (secure?.pending ?? 0);
    },
    get idle() {
      const ports = [plain?.port, secure?.port].filter((port) => port !== undefined);
      const connections = ports.map((port) => connectionsOn(port) ?? Number.NaN);
      const all = connections.reduce((sum, count) => sum + count, 0);
      // Over HTTP/2 a request may come beside those that run.
      return Number.isNaN(all) ? undefined : all - (secure?.sockets ?? 0);
    },
    get httpsPort() {
      return secure?.port;
    },
    freeze: async () => secure?.freeze(),
    thaw: () => secure?.thaw(),
    retire() {
      closed = true;
      reopening?.cancel();
      // Certificates are the other process's business from now on.
      void source.close();
      plain?.retire();
      secure?.retire();
      quic?.retire();
    },
    reports: () =>
      source.reports().map((report) => (unserved === undefined ? report : { ...report, unserved })),
    reload: () => source.reload(),
    finish: () => close((door) => door.finish()),
    stop: () => close((door) => door.stop()),
  };
}

/** Opens a port of the door; where it cannot be had, says what to do about this one. @throws {Problem} */
function advised<T>({ flag, isNeeded }: { flag: string; isNeeded: boolean }, open: () => T): T {
  try {
    return open();
  } catch (error) {
    const advice: Record<string, string> = {
      EADDRINUSE: isNeeded
        ? "Stop that program, as the CA asks on port 80; or let it serve HTTPS: modelrelay tls nginx, tls caddy and tls haproxy print how"
        : `Stop that program, or choose another port with ${flag}`,
      EACCES: `Give the right to low ports (AmbientCapabilities=CAP_NET_BIND_SERVICE under systemd), or forward the port and choose one from 1024 on with ${flag}`,
      EADDRNOTAVAIL: `Choose one that it has with ${flag}; the port alone stands for all of them`,
      ENOTTY: `Choose an address of this machine with ${flag}; the port alone stands for all of them`,
    };
    const cause = error instanceof Problem ? error.cause : undefined;
    const action = advice[errorCode(cause) ?? ""];
    throw action === undefined ? error : new Problem(messageOf(error), { action, cause });
  }
}
