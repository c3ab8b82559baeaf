import { systemClock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { createAdjustableLog } from "./adjustable-log.ts";
import { commandNode, type Command, type RunContext } from "./command.ts";
import { checkServe, serveOptions, type ServeConfig } from "./serve-options.ts";
import { reportStrayErrors } from "./stray-errors.ts";
import { stopRequested } from "./signals.ts";
import { keepSecret } from "./worker-secret.ts";

type ServeTable = typeof serveOptions;

/** A path as the platform's shell takes it; the usual place for data has a space in it on macOS. */
function shellPath(path: string): string {
  if (/^[\w./:\\-]+$/.test(path)) return path;
  return process.platform === "win32" ? `"${path}"` : `'${path.replaceAll("'", String.raw`'\''`)}'`;
}

/** Runs the relay until it is told to stop. */
async function runServe(config: ServeConfig, { terminal, reread }: RunContext<ServeTable>): Promise<number> {
  const log = createAdjustableLog(config.logLevel);
  reportStrayErrors(log);
  const kept = config.workerSecret === undefined ? keepSecret(config.dataDir) : undefined;
  if (kept?.isOpenToAll === true)
    log.warn(
      "Every user of this machine can read or change the worker secret: take that right away (chmod 600)",
      {
        file: kept.path,
      },
    );
  const workerSecret = config.workerSecret ?? kept?.secret ?? "";
  const { startRelay } = await import("../server/index.ts");
  const relay = startRelay({ ...config, workerSecret }, { clock: systemClock, log });
  const ended = stopRequested({
    async onFirst(signal) {
      log.info("Finishing what runs; a second signal ends at once", { signal });
      await relay.drain();
    },
    onReload() {
      try {
        const { changed, needsRestart } = reread();
        relay.reload(changed);
        if (changed.logLevel !== undefined) log.setLevel(changed.logLevel);
        log.info("Settings were read again", { changed: Object.keys(changed).join(",") || "none" });
        if (needsRestart.length > 0)
          log.warn("Some settings change only at the next start", { settings: needsRestart.join(",") });
      } catch (thrown) {
        log.error(`Settings stay as they are: ${messageOf(thrown)}`);
      }
    },
  });
  // Whoever reads this may send a signal at once.
  log.info("The relay listens", { url: relay.url });
  if (kept !== undefined) {
    terminal.err(
      `Workers connect with: modelrelay worker --proxy-url ${relay.url} --worker-secret-file ${shellPath(kept.path)}\n`,
    );
  }
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
      line: "modelrelay serve --listen :8080 --allow-anonymous --worker-secret-file /etc/modelrelay/secret",
      does: "Listen on every address, open to all who can reach it",
    },
  ],
  options: serveOptions,
  check: checkServe,
  run: runServe,
};

export default commandNode(serveCommand);
