import { systemClock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { OwnLimits } from "../server/limits/request-limits.ts";
import { readCertificate } from "../tls/certificate.ts";
import type { Identity } from "../tls/source.ts";
import { createAdjustableLog, type AdjustableLog } from "./adjustable-log.ts";
import { commandNode, type Command, type RunContext, type Terminal } from "./command.ts";
import { keepSecret, type KeptSecret } from "./kept-secret.ts";
import { limitsOf } from "./limit-options.ts";
import { checkServe, isPublic, serveOptions, type ServeConfig } from "./serve-options.ts";
import { stopRequested } from "./signals.ts";
import { reportStrayErrors } from "./stray-errors.ts";
import { tlsModeOf, type TlsMode } from "./tls-options.ts";

type ServeTable = typeof serveOptions;

/** The part of a relay that the command needs, however it is reached. */
interface Started {
  reload(changed: Partial<ServeConfig> & { limits: OwnLimits }): void;
  /** Looks for other certificates at once. */
  reloadCertificates(): void;
  drain(): Promise<void>;
}

/** What workers and clients have to show, and the files in which the relay keeps what it made itself. */
interface Secrets {
  workerSecret: string;
  workerFile: KeptSecret | undefined;
  apiKey: string | undefined;
  keyFile: KeptSecret | undefined;
}

/** A path as the platform's shell takes it; the usual place for data has a space in it on macOS. */
function shellPath(path: string): string {
  if (/^[\w./:\\-]+$/.test(path)) return path;
  return process.platform === "win32" ? `"${path}"` : `'${path.replaceAll("'", String.raw`'\''`)}'`;
}

function secretsOf(config: ServeConfig, log: Log): Secrets {
  const needsKey = isPublic(config) && !config.allowAnonymous && config.apiKey === undefined;
  const workerFile =
    config.workerSecret === undefined ? keepSecret(config.dataDir, "worker-secret") : undefined;
  const keyFile = needsKey ? keepSecret(config.dataDir, "api-key") : undefined;
  for (const kept of [workerFile, keyFile]) {
    if (kept?.isOpenToAll !== true) continue;
    const message =
      "Every user of this machine can read or change this secret: take that right away (chmod 600)";
    log.warn(message, { file: kept.path });
  }
  return {
    workerSecret: config.workerSecret ?? workerFile?.secret ?? "",
    workerFile,
    apiKey: config.apiKey ?? keyFile?.secret,
    keyFile,
  };
}

/** The metrics name models and workers, which on an address of this machine is no secret. */
function opensMetrics(config: ServeConfig): boolean {
  return !isPublic(config) && config.metricsToken === undefined;
}

/** What to type next, once somebody can. */
function tellHow(
  url: string,
  { workerFile, apiKey, keyFile }: Secrets,
  terminal: Terminal,
  pin?: string,
): void {
  const trust = pin === undefined ? "" : ` --pin ${pin}`;
  if (workerFile !== undefined) {
    terminal.err(
      `Workers connect with: modelrelay worker --proxy-url ${url}${trust} --worker-secret-file ${shellPath(workerFile.path)}\n`,
    );
  } else if (pin !== undefined) terminal.err(`Workers trust this relay with: --pin ${pin}\n`);
  if (keyFile !== undefined) {
    terminal.err(`Clients use base URL ${url}/v1 and the API key in ${shellPath(keyFile.path)}\n`);
  } else if (apiKey === undefined) terminal.err(`Clients use base URL ${url}/v1, without a key\n`);
}

async function startPlain(
  config: ServeConfig,
  secrets: Secrets,
  log: Log,
  terminal: Terminal,
): Promise<Started> {
  const { startRelay } = await import("../server/index.ts");
  const relay = startRelay(
    { ...config, ...secrets, limits: limitsOf(config, isPublic(config)), openMetrics: opensMetrics(config) },
    { clock: systemClock, log },
  );
  log.info("The relay listens", { url: relay.url });
  tellHow(relay.url, secrets, terminal);
  return { ...relay, reloadCertificates() {} };
}

async function startTls(
  mode: TlsMode,
  config: ServeConfig,
  listen: ServeConfig["listen"] | undefined,
  secrets: Secrets,
  log: Log,
  terminal: Terminal,
): Promise<Started> {
  const [{ startTlsRelay }, { tlsParts }] = await Promise.all([
    import("../server/index.ts"),
    import("./serve-tls.ts"),
  ]);
  const { listen: _, ...settings } = config;
  function onOpen({ httpsPort, identities }: { httpsPort: number; identities: readonly Identity[] }): void {
    const url = httpsUrl(identities, httpsPort);
    log.info("The relay listens", { url });
    const pin = mode === "self-signed" ? readCertificate(identities[0]?.chainPem ?? "").pin : undefined;
    tellHow(url, secrets, terminal, pin);
  }
  const relay = await startTlsRelay(
    {
      ...settings,
      ...secrets,
      listen,
      limits: limitsOf(config, isPublic(config)),
      openMetrics: opensMetrics(config),
    },
    { ...tlsParts(mode, config, { clock: systemClock, log }), onOpen },
    { clock: systemClock, log },
  );
  if (relay.plainUrl !== undefined) log.info("The relay listens", { url: relay.plainUrl });
  if (relay.door.httpsPort === undefined)
    log.info("HTTPS is served as soon as there is a certificate", { names: (config.domain ?? []).join(",") });
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
  const starting =
    mode === undefined
      ? startPlain(config, secrets, log, terminal)
      : startTls(mode, config, listen, secrets, log, terminal);
  // Whoever reads that the relay listens may send a signal at once.
  const ended = stopRequested({
    async onFirst(signal) {
      log.info("Finishing what runs; a second signal ends at once", { signal });
      await (await starting).drain();
    },
    onReload() {
      if (relay !== undefined) used = reload(relay, used, log, reread);
    },
  });
  relay = await starting;
  return ended;
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
