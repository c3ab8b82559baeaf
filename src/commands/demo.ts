import { systemClock } from "../base/clock.ts";
import { createLog } from "../base/log.ts";
import { commandNode, surroundings, type Command, type RunContext } from "./command.ts";
import { checkDemo, demoOptions, type DemoConfig } from "./demo-options.ts";
import type { OptionTable } from "./options.ts";
import { readConfig } from "./read-config.ts";
import { serveOptions } from "./serve-options.ts";
import { reportStrayErrors } from "./stray-errors.ts";
import { stopRequested } from "./signals.ts";
import { workerOptions } from "./worker-options.ts";

/** What a command would use if nobody had set anything. */
function defaultsOf<T extends OptionTable>(command: string, table: T) {
  return readConfig(command, table, { args: [], around: surroundings({}) }).config;
}

/** Names of models that do not chat, as far as a name tells. */
const NOT_FOR_CHAT = /embed|rerank|whisper|tts/i;

/** What is printed once requests can be answered. Both snippets can be pasted as they are. */
export function greeting(url: string, backend: string, models: readonly string[]): string {
  const model = models.find((name) => !NOT_FOR_CHAT.test(name)) ?? models[0] ?? "";
  const body = { model, stream: true, messages: [{ role: "user", content: "Hello" }] };
  return `${backend}

The relay listens on ${url}. Try it:

  curl -N ${url}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '${JSON.stringify(body).replaceAll("'", String.raw`'\''`)}'

With the OpenAI SDK (npm install openai):

  import OpenAI from "openai";
  const client = new OpenAI({ baseURL: "${url}/v1", apiKey: "none" });
  const answer = await client.chat.completions.create({
    model: ${JSON.stringify(model)},
    messages: [{ role: "user", content: "Hello" }],
  });
  console.log(answer.choices[0].message.content);

Ctrl+C ends it.
`;
}

/** A relay, a worker and, where no inference server is found, a built-in model, until it is told to stop. */
async function runDemo(
  config: DemoConfig,
  { terminal, origins }: RunContext<typeof demoOptions>,
): Promise<number> {
  const log = createLog(config.logLevel);
  reportStrayErrors(log);
  const [
    { startRelay },
    { startWorker },
    { describeBackend, findBackend },
    { DEMO_MODEL },
    { startDemoBackend },
  ] = await Promise.all([
    import("../server/index.ts"),
    import("../worker/index.ts"),
    import("../worker/discover.ts"),
    import("../demo/model.ts"),
    import("../demo/server.ts"),
  ]);
  const running = await findBackend();
  // A server without a model answers nothing, and the demo is there to be tried.
  const found = running === undefined || running.models.length === 0 ? undefined : running;
  const workerSecret = crypto.randomUUID();
  const relayDefaults = { ...defaultsOf("serve", serveOptions), workerSecret };
  const start = (listen: DemoConfig["listen"]) =>
    startRelay({ ...relayDefaults, listen, openMetrics: true }, { clock: systemClock, log });
  const startWhereFree = () => {
    try {
      return start(config.listen);
    } catch (taken) {
      // The usual port is llama.cpp's as well: unless it was asked for, another one will do.
      if (origins.listen !== "default") throw taken;
      return start({ ...config.listen, port: 0 });
    }
  };
  const relay = startWhereFree();
  const model = found === undefined ? startDemoBackend() : undefined;
  const { backendApiKey: _, ...workerDefaults } = defaultsOf("worker", workerOptions);
  const workerConfig = {
    ...workerDefaults,
    proxyUrl: relay.url,
    workerSecret,
    workerName: "demo",
    maxConcurrency: 8,
    backendUrl: found?.url ?? model?.url,
  };
  const registered = Promise.withResolvers<void>();
  const worker = startWorker(workerConfig, {
    clock: systemClock,
    log,
    onEvent: (event) => {
      if (event.kind === "registered" && event.models.length > 0) registered.resolve();
    },
  });
  const about =
    found === undefined
      ? `${running === undefined ? "No inference server was found on this machine" : describeBackend(running)}, so a built-in model answers: ${DEMO_MODEL}. It only repeats what it is told.`
      : describeBackend(found);
  const ended = stopRequested({
    async onFirst() {
      await Promise.all([relay.drain(), worker.drain()]);
    },
  });
  void registered.promise.then(() => terminal.out(greeting(relay.url, about, found?.models ?? [DEMO_MODEL])));
  const code = await ended;
  await model?.stop();
  return code;
}

export const demoCommand: Command<typeof demoOptions> = {
  name: "demo",
  summary: "Relay, worker and, where no inference server is found, a built-in model, in one process",
  examples: [{ line: "modelrelay demo", does: "Serve on 127.0.0.1:8080 and print requests to paste" }],
  options: demoOptions,
  check: checkDemo,
  run: runDemo,
};

export default commandNode(demoCommand);
