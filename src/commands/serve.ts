import { systemClock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { localUrl } from "../base/ip-address.ts";
import type { Log } from "../base/log.ts";
import { findServiceManager, waitsFor, type ServiceManager } from "../base/service-manager.ts";
import type { RunningRelay } from "../server/index.ts";
import { LocalProof } from "../server/local-proof.ts";
import { readCertificate } from "../tls/certificate.ts";
import type { Identity } from "../tls/source.ts";
import { createAdjustableLog, type AdjustableLog } from "./adjustable-log.ts";
import { commandNode, type Command, type RunContext, type Terminal } from "./command.ts";
import { limitsOf } from "./limit-options.ts";
import { writeRelayFile } from "./relay-file.ts";
import { showDrain } from "./progress.ts";
import { checkServe, isPublic, serveOptions, type ServeConfig } from "./serve-options.ts";
import { secretsOf, tellHow, type Secrets } from "./serve-secrets.ts";
import { Handover } from "./serve-handover.ts";
import { openState, type ServeState } from "./serve-state.ts";
import { stopRequested } from "./signals.ts";
import { reportStrayErrors } from "./stray-errors.ts";
import { findSuccession, type Succession } from "./succession.ts";
import { tlsModeOf, type TlsMode } from "./tls-options.ts";
import { tracingOf } from "./trace-options.ts";

type ServeTable = typeof serveOptions;

/** What the end may take after the last request: usage is written, and the database closed. */
const CLOSING_MS = 15_000;

/** What both ways of starting a relay take. */
interface Start {
  config: ServeConfig;
  secrets: Secrets;
  log: Log;
  terminal: Terminal;
  /** Called with the address at which programs on this machine reach the relay, once they do. */
  reachable: (url: string) => void;
  /** Called with what the relay does now, in words. */
  tell: (status: string) => void;
  /** Shows commands on this machine that they speak to this process. */
  proof: LocalProof;
  /** The place that this process is to take; absent for none. */
  succession: Succession | undefined;
}

/** The relay, and what is there with TLS alone. */
interface Started extends RunningRelay {
  /** Looks for other certificates at once. */
  reloadCertificates(): void;
}

/** The metrics name models and workers, which on an address of this machine is no secret. */
function opensMetrics(config: ServeConfig): boolean {
  return !isPublic(config) && config.metricsToken === undefined;
}

async function startPlain(
  { config, secrets, log, terminal, reachable, tell, proof, succession }: Start,
  state: ServeState,
): Promise<Started> {
  const { startRelay } = await import("../server/index.ts");
  const relay = startRelay(
    {
      ...config,
      ...secrets,
      limits: limitsOf(config, isPublic(config)),
      openMetrics: opensMetrics(config),
      tracing: tracingOf(config),
    },
    { clock: systemClock, log, ...state, proof, heritage: succession?.heritage },
  );
  log.info("The relay listens", { url: relay.url });
  tell(`Listens on ${relay.url}`);
  reachable(relay.url);
  if (succession === undefined) tellHow(relay.url, secrets, terminal);
  return { ...relay, reloadCertificates() {} };
}

async function startTls(
  mode: TlsMode,
  { config, secrets, log, terminal, reachable, tell, proof, succession }: Start,
  listen: ServeConfig["listen"] | undefined,
  state: ServeState,
): Promise<Started> {
  const [{ startTlsRelay }, { tlsParts }] = await Promise.all([
    import("../server/index.ts"),
    import("./serve-tls.ts"),
  ]);
  const { listen: _, ...settings } = config;
  function onOpen({ httpsPort, identities }: { httpsPort: number; identities: readonly Identity[] }): void {
    const url = httpsUrl(identities, httpsPort);
    log.info("The relay listens", { url });
    tell(`Listens on ${url}`);
    // A plain port needs no certificate, and comes first.
    if (listen === undefined) reachable(localUrl("https", config.httpsPort.host, httpsPort));
    const pin = mode === "self-signed" ? readCertificate(identities[0]?.chainPem ?? "").pin : undefined;
    if (succession === undefined) tellHow(url, secrets, terminal, pin);
  }
  const relay = await startTlsRelay(
    {
      ...settings,
      ...secrets,
      listen,
      limits: limitsOf(config, isPublic(config)),
      openMetrics: opensMetrics(config),
      tracing: tracingOf(config),
    },
    { ...tlsParts(mode, config, { clock: systemClock, log }), onOpen },
    { clock: systemClock, log, ...state, proof, heritage: succession?.heritage },
  );
  if (relay.plainUrl !== undefined) {
    log.info("The relay listens", { url: relay.plainUrl });
    reachable(relay.plainUrl);
  }
  if (relay.door.httpsPort === undefined) {
    const names = (config.domain ?? []).join(",");
    log.info("HTTPS is served as soon as there is a certificate", { names });
    tell(waitsFor(`a certificate of ${names}`));
  }
  return { ...relay, reloadCertificates: () => relay.door.reload() };
}

function httpsUrl(identities: readonly Identity[], port: number): string {
  const [name = "localhost"] = identities[0]?.names ?? [];
  const host = name.includes(":") ? `[${name}]` : name.replace(/^\*\./, "");
  return `https://${host}${port === 443 ? "" : `:${port}`}`;
}

/** Reads the settings again, and tells what became of it. @returns those that are in use now */
function reload(
  relay: Started,
  config: ServeConfig,
  log: AdjustableLog,
  reread: RunContext<ServeTable>["reread"],
): ServeConfig {
  let used = config;
  try {
    const { changed, needsRestart } = reread();
    used = { ...config, ...changed };
    relay.reload({ ...changed, limits: limitsOf(used, isPublic(used)) });
    if (changed.logLevel !== undefined) log.setLevel(changed.logLevel);
    log.info("Settings were read again", { changed: Object.keys(changed).join(",") || "none" });
    if (needsRestart.length > 0)
      log.warn("Some settings change only at the next start", { settings: needsRestart.join(",") });
  } catch (thrown) {
    log.error(`Settings stay as they are: ${messageOf(thrown)}`);
  }
  relay.reloadCertificates();
  return used;
}

/** Runs the relay until it is told to stop. */
async function runServe(
  config: ServeConfig,
  { terminal, reread, origins }: RunContext<ServeTable>,
): Promise<number> {
  const log = createAdjustableLog(config.logLevel, config.logFormat);
  reportStrayErrors(log);
  const secrets = secretsOf(config, log);
  const mode = tlsModeOf(config);
  const listen = origins.listen === "default" ? undefined : config.listen;
  let relay: Started | undefined;
  let used = config;
  const proof = new LocalProof();
  let file: { remove(): void } | undefined;
  let reachedAt: string | undefined;
  const reachable = (url: string): void => {
    reachedAt = url;
    file = writeRelayFile(config.dataDir, url, proof.key, log);
  };
  const manager = findServiceManager({ env: terminal.env, clock: systemClock });
  let status = "Starts";
  const tell = (text: string): void => {
    status = text;
    manager.status(text);
  };
  const succession = await findSuccession(terminal.env);
  const parts = { config, secrets, log, terminal, reachable, tell, succession, proof };
  let state: ServeState | undefined;
  const start = async (): Promise<Started> => {
    state = await openState(config, log, succession?.generation ?? 0);
    return mode === undefined ? startPlain(parts, state) : startTls(mode, parts, listen, state);
  };
  const starting = start();
  const show = async (finished: Promise<void>, timeoutMs: number): Promise<void> => {
    const { relay: shown } = await starting;
    const running = (): number => shown.core.requestCount;
    const { logFormat } = config;
    await showDrain(finished, { clock: systemClock, log, logFormat, env: terminal.env, running, timeoutMs });
  };
  const handover = new Handover({
    clock: systemClock,
    log,
    manager,
    succession,
    stays() {
      manager.ready(status);
      if (reachedAt !== undefined) reachable(reachedAt);
    },
    show: (finished) => show(finished, used.handoverTimeoutMs),
    timeoutMs: () => used.handoverTimeoutMs,
  });
  // Whoever reads that the relay listens may send a signal at once.
  const ended = stopRequested({
    async onFirst(signal) {
      log.info("Finishing what runs; a second signal ends at once", { signal });
      manager.stopping("Finishes what runs", used.drainTimeoutMs + CLOSING_MS);
      handover.abandon();
      const started = await starting;
      await show(started.drain(), used.drainTimeoutMs);
    },
    onReload() {
      if (relay !== undefined && !handover.isUnderWay) used = reload(relay, used, log, reread);
    },
    onHandOver: async () => handover.begin(await starting),
  });
  let code = 0;
  try {
    relay = await starting;
    if (succession === undefined) manager.ready(status);
    else takePlace(succession, state, manager, status);
    code = await ended;
    return code;
  } finally {
    file?.remove();
    // A second signal waits for nobody, a database that is not well least of all.
    if (code === 0) await state?.[Symbol.asyncDispose]();
    manager.close();
  }
}

/** Everything new comes here from now on, and what the process before this one leaves when it has ended. */
function takePlace(
  succession: Succession,
  state: ServeState | undefined,
  manager: ServiceManager,
  status: string,
): void {
  manager.tookOver(status);
  succession.ready();
  void succession.ended.then(() => state?.usage.inherit());
}

export const serveCommand: Command<ServeTable> = {
  name: "serve",
  summary: "Relay: takes OpenAI and Anthropic requests and hands them to connected workers",
  examples: [
    {
      line: "modelrelay serve",
      does: "Listen on 127.0.0.1:8080 and print the command that connects a worker",
    },
    {
      line: "modelrelay serve --tls --domain relay.example.com",
      does: "Serve HTTPS on a public machine with a certificate that it gets and renews itself",
    },
    {
      line: "modelrelay serve --listen :8080 --allow-anonymous --worker-secret-file /etc/modelrelay/secret",
      does: "Listen on every address, open to all who can reach it",
    },
  ],
  options: serveOptions,
  check: checkServe,
  run: runServe,
};

export default commandNode(serveCommand);
