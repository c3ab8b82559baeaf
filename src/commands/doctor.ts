import { systemClock } from "../base/clock.ts";
import { localUrl } from "../base/ip-address.ts";
import { kernelClock } from "../doctor/clock-step.ts";
import {
  examine,
  type DoctorResult,
  type Examination,
  type Machine,
  type RelayPlan,
} from "../doctor/index.ts";
import type { Asked } from "../doctor/proxies.ts";
import type { WantedPort } from "../doctor/ports.ts";
import { readArguments } from "./arguments.ts";
import { readAuthorities } from "./ca-file.ts";
import { checkLine } from "./check-line.ts";
import { commandNode, surroundings, type Command, type RunContext, type Terminal } from "./command.ts";
import { doctorOptions, type EndName } from "./doctor-options.ts";
import { askRelay } from "./doctor-relays.ts";
import { startOf } from "./doctor-running.ts";
import { fileWithSecrets, isSet, readEnd, type End, type EndSettings } from "./doctor-settings.ts";
import { EXIT } from "./failure.ts";
import { settingsOf, type OptionTable, type Surroundings } from "./options.ts";
import { namedRelay } from "./relay-call.ts";
import { readRelayFile, type RelayFile } from "./relay-file.ts";
import { relayDataDirOption } from "./shared-options.ts";
import { checkServe, serveOptions, type ServeConfig } from "./serve-options.ts";
import { directoryOf, tlsModeOf } from "./tls-options.ts";
import { leadsHere } from "./value-kinds.ts";
import { workerCommand } from "./worker.ts";
import { workerOptions, type WorkerConfig } from "./worker-options.ts";

type ServeSettings = EndSettings<typeof serveOptions>;
type WorkerSettings = EndSettings<typeof workerOptions>;

/** The flags that are one end's as well, as that end takes them. */
function flagsOf(args: readonly string[], options: OptionTable): string[] {
  const known = new Set(settingsOf(options).map(({ flag }) => flag));
  return [...readArguments(args, settingsOf(doctorOptions), "doctor")]
    .filter(([{ option, flag }]) => option.operand !== true && known.has(flag))
    .map(([{ flag }, { text }]) => `--${flag}=${text}`);
}

/** Which ends this machine has, where nobody says. */
function endsOf(
  end: EndName | undefined,
  serve: ServeSettings,
  worker: WorkerSettings,
  running: RelayFile | undefined,
): Record<EndName, boolean> {
  if (end !== undefined) return { serve: end === "serve", worker: end === "worker" };
  const hasWorker = isSet(worker.reading, [
    "proxyUrl",
    "backendUrl",
    "models",
    "workerName",
    "caFile",
    "pin",
  ]);
  const own = ["listen", "tls", "domain", "tlsCert", "tlsSelfSigned", "dataDir", "databaseUrl"] as const;
  return { serve: !hasWorker || running !== undefined || isSet(serve.reading, own), worker: hasWorker };
}

/** The ports that `serve` takes by its settings. */
export function portsOf(config: ServeConfig, origins: ServeSettings["reading"]["origins"]): WantedPort[] {
  const { listen, httpsPort, httpPort, http3 } = config;
  const isSecure = tlsModeOf(config) !== undefined;
  const ports: WantedPort[] = [];
  if (!isSecure || origins.listen !== "default") ports.push({ ...listen, carrier: "tcp", flag: "--listen" });
  if (isSecure) {
    ports.push({ ...httpsPort, carrier: "tcp", flag: "--https-port" });
    if (http3) ports.push({ ...httpsPort, carrier: "udp", flag: "--https-port" });
    if (httpPort !== "off") ports.push({ ...httpPort, carrier: "tcp", flag: "--http-port" });
  }
  // The system chooses a free one where 0 is asked for.
  return ports.filter(({ port }) => port !== 0);
}

/** What is asked over HTTP, here or from here. */
function askedBy(config: ServeConfig): Asked[] {
  const { listen, otlpEndpoint } = config;
  const mode = tlsModeOf(config);
  return [
    ...(mode === undefined
      ? [
          {
            url: localUrl("http", listen.host, listen.port),
            who: "programs of this machine ask",
            mayBeProxied: false,
          },
        ]
      : []),
    ...(mode === "acme" ? [{ url: directoryOf(config), who: "the relay asks", mayBeProxied: true }] : []),
    ...(otlpEndpoint === undefined
      ? []
      : [{ url: otlpEndpoint, who: "the relay sends traces to", mayBeProxied: !leadsHere(otlpEndpoint) }]),
  ];
}

function relayPlan({ reading: { config, origins } }: ServeSettings): RelayPlan {
  return { dataDir: config.dataDir, databaseUrl: config.databaseUrl, ports: portsOf(config, origins) };
}

/** The relay that a worker dials, with the trust that the worker has in it. */
function dialledBy({ reading: { config, origins } }: WorkerSettings): NonNullable<Examination["dialled"]> {
  const { proxyUrl: url, caFile, pin, provider }: WorkerConfig = config;
  return {
    url,
    async ask() {
      const [{ relayTls }, { describeFailure }] = await Promise.all([
        import("../worker/relay-trust.ts"),
        import("../worker/connection.ts"),
      ]);
      const trust = {
        proxyUrl: url,
        provider,
        ...(caFile !== undefined && { caPem: readAuthorities(caFile, "ca-file", origins.caFile) }),
        ...(pin !== undefined && { pins: pin }),
      };
      const terms = await relayTls(trust, systemClock, new AbortController().signal);
      if ("failure" in terms) throw new Error(describeFailure(terms.failure).message);
      return askRelay(namedRelay(url), terms);
    },
  };
}

/** `serve` as it would run here, or does: the service's relay is found by who may look into its directory. */
const relayEnd: End<typeof serveOptions> = {
  name: "serve",
  options: { ...serveOptions, dataDir: { ...serveOptions.dataDir, default: relayDataDirOption.default } },
  check: checkServe,
};

/** The settings of the relay that runs, else those that one would be started with. */
function readServe(
  flags: readonly string[],
  around: Surroundings,
): { serve: ServeSettings; running: RelayFile | undefined } {
  const serve = readEnd(relayEnd, flags, around);
  const running = readRelayFile(serve.reading.config.dataDir);
  const start = running && startOf(running.pid, "serve", serveOptions);
  if (start === undefined) return { serve, running };
  const nameOf = (flag: string): string => flag.slice(0, flag.indexOf("="));
  const given = new Set(flags.map(nameOf));
  const merged = [...start.args.filter((arg) => !given.has(nameOf(arg))), ...flags];
  const how = "as the relay that runs was started: ";
  return { serve: readEnd(relayEnd, merged, { ...around, env: start.env }, how), running };
}

export function examinedMachine(terminal: Terminal): Machine {
  return {
    clock: systemClock,
    env: terminal.env,
    platform: process.platform,
    root: "/",
    uid: process.getuid?.(),
    timeState: kernelClock,
  };
}

async function runDoctor(
  { end, json }: { end: EndName | undefined; json: boolean },
  { terminal, args }: RunContext<typeof doctorOptions>,
): Promise<number> {
  const around = surroundings(terminal.env);
  const { serve, running } = readServe(flagsOf(args, serveOptions), around);
  const worker = readEnd(workerCommand, flagsOf(args, workerOptions), around);
  const ends = endsOf(end, serve, worker, running);
  const used = [...(ends.serve ? [serve] : []), ...(ends.worker ? [worker] : [])];
  const { tlsKey } = serve.reading.config;
  const examination: Examination = {
    // A mistake in the settings of the other end is one in the same file.
    settings: [serve, worker]
      .filter((one) => used.includes(one) || one.outcomes.some(({ ok }) => ok === false))
      .flatMap(({ outcomes }) => outcomes),
    secretFiles: [
      ...used.flatMap(({ reading }) => reading.secretFiles),
      // Each is in the one file, whichever end uses it.
      ...[
        ...fileWithSecrets(serveOptions, serve.reading),
        ...fileWithSecrets(workerOptions, worker.reading),
      ].slice(0, 1),
      ...(ends.serve && tlsKey !== undefined ? [{ path: tlsKey, what: "tls-key" }] : []),
    ],
    demand: {
      queue: ends.serve ? serve.reading.config.maxQueueLen : undefined,
      heldBytes: ends.serve ? serve.reading.config.maxInflightBytes : undefined,
      concurrency: ends.worker ? worker.reading.config.maxConcurrency : undefined,
    },
    asked: ends.serve ? askedBy(serve.reading.config) : [],
    running: ends.serve ? running : undefined,
    relay: ends.serve ? relayPlan(serve) : undefined,
    dialled: ends.worker ? dialledBy(worker) : undefined,
    ask: (url) => askRelay({ url, isHere: true }),
  };
  let printed = Promise.resolve();
  const results = await examine(examinedMachine(terminal), examination, (result) => {
    if (!json) printed = printed.then(() => terminal.out(checkLine(result)));
  });
  await printed;
  if (json) await terminal.out(`${JSON.stringify({ checks: results.map(asJson) }, null, 2)}\n`);
  return results.some(({ ok }) => ok === false) ? EXIT.failed : 0;
}

function asJson({ ok, ...rest }: DoctorResult): object {
  return { ...rest, ok: ok ?? null };
}

export const doctorCommand: Command<typeof doctorOptions> = {
  name: "doctor",
  summary:
    "Finds what is wrong with this machine: limits, ports, clock, disk, rights, settings, database, versions",
  examples: [
    { line: "modelrelay doctor", does: "A line for each thing; exit code 1 if anything is wrong" },
    {
      line: "modelrelay doctor worker --proxy-url https://relay.example.com",
      does: "A machine that has a worker alone",
    },
  ],
  options: doctorOptions,
  readsEnvironment: false,
  run: runDoctor,
};

export default commandNode(doctorCommand);
