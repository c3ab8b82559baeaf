import { systemClock } from "../base/clock.ts";
import { formatDuration } from "../base/duration.ts";
import { messageOf, Problem, UsageError } from "../base/errors.ts";
import { commandNode, type Command, type Terminal } from "./command.ts";
import { operatorOptions, tokenOf } from "./operator.ts";
import { defineOptions, type Config } from "./options.ts";
import { namedRelay, relayHere, type RelayAddress } from "./relay-call.ts";
import { screenOf, whenUnread } from "./screen.ts";
import { stopRequested } from "./signals.ts";
import { linesText, statusLines, type Room, type StyledLine } from "./status-text.ts";
import { lookAtRelay, TokenRefused, type StatusView } from "./status-view.ts";
import { watch } from "./status-watch.ts";
import { duration, onOff } from "./value-kinds.ts";

const { json, relayUrl, adminToken, dataDir, config: configFile } = operatorOptions;

const statusOptions = defineOptions({
  watch: {
    kind: "switch",
    default: "false",
    inFile: false,
    help: "Show it again and again, in place on a terminal, until Ctrl-C",
    schema: onOff,
  },
  intervalMs: {
    flag: "interval",
    default: "2s",
    inFile: false,
    hint: "DURATION",
    help: "Time between two pictures of --watch",
    schema: duration,
  },
  json,
  url: { ...relayUrl, defaultText: "the one that runs on this machine" },
  adminToken,
  dataDir,
  config: configFile,
});

type StatusConfig = Config<typeof statusOptions>;

const TIMEOUT_MS = 10_000;
/** More often, looking would be work for the relay. */
const LEAST_INTERVAL_MS = 200;

/** @throws {Problem} if none runs here and none is named */
async function findRelay({ url, dataDir: folder }: StatusConfig): Promise<RelayAddress> {
  if (url !== undefined) return namedRelay(url);
  const running = await relayHere(folder);
  if (running !== undefined) return { url: running.url, isHere: true };
  throw new Problem(`Cannot find a relay on this machine: none runs with the data directory "${folder}"`, {
    action:
      "Run this as the relay's user or as root, name its directory with --data-dir or its address with --url; one is started with: modelrelay serve",
  });
}

/** @param refused a token that the relay did not take before */
async function look(
  config: StatusConfig,
  refused?: string,
): Promise<{ view: StatusView; token: string | undefined }> {
  const relay = await findRelay(config);
  const isGiven = config.adminToken !== undefined;
  const known = isGiven ? config.adminToken : ownToken(config, relay);
  const token = known === refused ? undefined : known;
  const looking = { relay, token, isGiven, timeoutMs: TIMEOUT_MS };
  return { view: await lookAtRelay(looking, systemClock.wall()), token };
}

/** That of the relay on this machine, which is for no other; without one the relay tells less. */
function ownToken(config: StatusConfig, { isHere }: RelayAddress): string | undefined {
  if (!isHere) return undefined;
  try {
    return tokenOf(config);
  } catch {
    return undefined;
  }
}

/** What one look brought, where a relay that is away is no reason to stop looking. */
type Seen = { at: string } & ({ view: StatusView } | { error: string; down_secs: number });

async function runWatch(config: StatusConfig, terminal: Terminal): Promise<number> {
  const screen = config.json ? undefined : screenOf(terminal.env);
  const ending = new AbortController();
  const stopped = stopRequested({
    onFirst() {
      ending.abort();
      return watching;
    },
  });
  // `head` has read enough, and so has whoever closes a window.
  whenUnread(() => ending.abort());
  let goneSince: number | undefined;
  let refused: string | undefined;
  const lookOnce = async (): Promise<Seen> => {
    const at = new Date(systemClock.wall()).toISOString();
    try {
      const { view, token } = await look(config, refused);
      goneSince = undefined;
      if (view.token_accepted === false) refused = token;
      return { at, view };
    } catch (error) {
      if (error instanceof TokenRefused) throw error;
      goneSince ??= systemClock.now();
      return { at, error: messageOf(error), down_secs: Math.floor((systemClock.now() - goneSince) / 1_000) };
    }
  };
  const watching = watch({
    clock: systemClock,
    terminal,
    screen,
    everyMs: config.intervalMs,
    look: lookOnce,
    draw(seen, room) {
      if (config.json) return [{ text: JSON.stringify("view" in seen ? seen.view : seen) }];
      // An empty line between one picture and the next, where they do not take each other's place.
      return [...seenLines(seen, room), ...(screen === undefined ? [{ text: "" }] : [])];
    },
    signal: ending.signal,
  });
  return Promise.race([stopped, watching.then(() => 0)]);
}

function seenLines(seen: Seen, room: Room): StyledLine[] {
  const time: StyledLine = { text: `${seen.at.slice(0, 19).replace("T", " ")} UTC` };
  if ("view" in seen) return [time, ...statusLines(seen.view, { ...room, rows: room.rows - 1 })];
  const since = seen.down_secs === 0 ? "" : ` (for ${formatDuration(seen.down_secs * 1_000)})`;
  return [time, { text: `${seen.error}${since}`, style: "trouble" }];
}

export const statusCommand: Command<typeof statusOptions> = {
  name: "status",
  summary: "Shows a relay that runs: workers, models, queue, rates, certificates",
  examples: [
    { line: "modelrelay status", does: "The relay on this machine" },
    { line: "modelrelay status --watch", does: "The same, again every two seconds" },
    {
      line: "modelrelay status --url https://relay.example.com --admin-token-file token",
      does: "A relay elsewhere; without its admin token, what it tells everybody",
    },
  ],
  options: statusOptions,
  file: "serve",
  check({ config, origins }) {
    if (!config.watch && origins.intervalMs !== "default") {
      throw new UsageError(`Cannot use interval (${origins.intervalMs}) without --watch: it is shown once`, {
        action: "Add --watch",
      });
    }
    if (config.intervalMs >= LEAST_INTERVAL_MS) return;
    throw new UsageError(
      `Cannot use ${config.intervalMs} ms as interval (${origins.intervalMs}): expected at least ${LEAST_INTERVAL_MS} ms`,
    );
  },
  async run(config, { terminal }) {
    if (config.watch) return runWatch(config, terminal);
    const { view } = await look(config).catch((error: unknown) => {
      throw withAction(error);
    });
    const screen = screenOf(terminal.env);
    const room = { columns: screen?.columns ?? Infinity, rows: Infinity };
    await terminal.out(
      config.json
        ? `${JSON.stringify(view, null, 2)}\n`
        : linesText(statusLines(view, room), screen?.inColour ?? false),
    );
    return 0;
  },
};

/** A relay that does not answer says nothing of what to do. */
function withAction(error: unknown): unknown {
  if (!(error instanceof Problem) || error.action !== undefined) return error;
  return new Problem(error.message, {
    action: "See whether it runs, or name another one with --url",
    cause: error,
  });
}

export default commandNode(statusCommand);
