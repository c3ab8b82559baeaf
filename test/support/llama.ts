import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { Problem } from "../../src/base/errors.ts";
import { cacheDir, requirePart } from "./parts.ts";
import { ServerProcess } from "./server-process.ts";

const SCRIPT = join(import.meta.dir, "make-gguf.py");
/** Loading Python and the model takes two seconds; far more on a busy machine. */
const START_MS = 60_000;

/** A real llama.cpp server with a tiny model of random weights. */
export interface Llama extends AsyncDisposable {
  /** `http://127.0.0.1:<port>`, without a slash at the end. */
  url: string;
  /** The one model that it serves. Answers printable ASCII, exactly `max_tokens` long. */
  model: string;
  pid: number;
  /** Everything that the server has written; one line a finished request. */
  log(): string;
  /** Waits for something in the log. */
  logged: ServerProcess["logged"];
}

/** The model file; made once for each version of the script that makes it. */
async function modelFile(python: string): Promise<string> {
  const hash = Bun.hash(await Bun.file(SCRIPT).text()).toString(16);
  const path = join(cacheDir, "models", `tiny-${hash}.gguf`);
  if (existsSync(path)) return path;
  mkdirSync(join(path, ".."), { recursive: true });
  const unfinished = `${path}.${process.pid}`;
  const made = Bun.spawn([python, SCRIPT, unfinished], { stdio: ["ignore", "ignore", "pipe"] });
  const [code, stderr] = await Promise.all([made.exited, made.stderr.text()]);
  if (code !== 0) throw new Problem(`Cannot make a model with ${SCRIPT}: exit code ${code}\n${stderr}`);
  renameSync(unfinished, path);
  return path;
}

/**
 * Starts llama.cpp's server from PyPI's `llama-cpp-python`: chat completions, completions and embeddings,
 * one request at a time (a second one waits, or interrupts a stream: `interrupt_requests` is off).
 *
 * @throws {Problem} if the part is missing or the server does not come up
 */
export async function startLlama(): Promise<Llama> {
  const python = requirePart("llama");
  const model = "tiny";
  const options = {
    model: await modelFile(python),
    model_alias: model,
    host: "127.0.0.1",
    // Its log names the port that it got.
    port: "0",
    n_ctx: "2048",
    // More threads than work: a model of this size is slower on two.
    n_threads: "1",
    embedding: "true",
    interrupt_requests: "false",
    verbose: "false",
  };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  // HOST and PORT would win over the arguments.
  const server = new ServerProcess("llama.cpp", [python, "-u", "-m", "llama_cpp.server", ...args], {
    HOST: undefined,
    PORT: undefined,
  });
  try {
    const [, url] = await server.logged(/Uvicorn running on (http:\/\/[\d.:]+)/, START_MS);
    return {
      url: url!,
      model,
      pid: server.pid,
      log: () => server.log(),
      logged: (...wanted) => server.logged(...wanted),
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}
