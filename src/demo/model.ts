import { systemClock, type Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { silentLog, type Log } from "../base/log.ts";
import { answerMessage, answerTokenCount } from "./anthropic-messages.ts";
import { missingField, parseJsonObject, type Call } from "./call.ts";
import { listModels, listOllamaModels, showModel, showOllamaModel } from "./model-list.ts";
import { answerOllamaChat, answerOllamaEmbed, answerOllamaGenerate } from "./ollama.ts";
import { answerChat } from "./openai-chat.ts";
import { answerCompletion } from "./openai-completions.ts";
import { answerEmbeddings } from "./openai-embeddings.ts";
import { answerResponses } from "./openai-responses.ts";
import { streamFrames, type StreamEnd } from "./paced-stream.ts";
import { answerRefusal, Refusal, type Dialect } from "./refusal.ts";

/** The model that is served where none is named. */
export const DEMO_MODEL = "demo-echo";

export interface DemoModelOptions {
  /** Names that it answers to; `["demo-echo"]` unless given. */
  models?: readonly string[];
  /** Delay before each streamed token, so that streaming can be seen; 15 ms unless given. */
  tokenDelayMs?: number;
  clock?: Clock;
  /** Hears of failures of the model itself, which clients only see as status 500. */
  log?: Log;
  /** Called once for each streamed answer, when it is complete or its reader has left. */
  onStreamEnd?(end: StreamEnd): void;
}

/** A model server without a socket: hand it a request, get its response. */
export interface DemoModel {
  fetch(request: Request): Promise<Response>;
}

const GENERATORS: Record<string, (call: Call) => Response> = {
  "/v1/chat/completions": answerChat,
  "/v1/completions": answerCompletion,
  "/v1/responses": answerResponses,
  "/v1/embeddings": answerEmbeddings,
  "/v1/messages": answerMessage,
  "/v1/messages/count_tokens": answerTokenCount,
  "/api/chat": answerOllamaChat,
  "/api/generate": answerOllamaGenerate,
  "/api/embed": answerOllamaEmbed,
  "/api/show": ({ model }) => showOllamaModel(model),
};

const MODEL_PREFIX = "/v1/models/";

function dialectOf(path: string, request: Request): Dialect {
  if (path.startsWith("/api/")) return "ollama";
  if (path.startsWith("/v1/messages") || request.headers.has("anthropic-version")) return "anthropic";
  return "openai";
}

/** The request's path; a target that is no address at all is an unknown path. */
function pathOf(request: Request): string {
  return URL.parse(request.url)?.pathname ?? "";
}

function decodePath(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function fingerprint(path: string, body: string): string {
  return new Bun.CryptoHasher("sha256").update(path).update(body).digest("hex").slice(0, 24);
}

/**
 * The built-in demonstration model: it says that it is one, repeats the last message, calls a tool when
 * told to, and makes vectors from hashes. It speaks the OpenAI, Anthropic and Ollama APIs, streamed and
 * not; equal requests get equal answers, dates apart.
 */
export function createDemoModel(options: DemoModelOptions = {}): DemoModel {
  const { models = [DEMO_MODEL], tokenDelayMs = 15, clock = systemClock, log = silentLog } = options;
  const onEnd = (end: StreamEnd): void => options.onStreamEnd?.(end);

  function requireModel(name: string): string {
    const known = models.find((id) => id === name || `${id}:latest` === name);
    if (known !== undefined) return known;
    const offered = models.map((id) => `"${id}"`).join(", ");
    throw new Refusal(404, `Cannot find model "${name}": this server offers ${offered}`, {
      code: "model_not_found",
      param: "model",
    });
  }

  function read(path: string, dialect: Dialect): Response | undefined {
    if (path === "/v1/models") return listModels(models, dialect === "anthropic");
    if (path.startsWith(MODEL_PREFIX)) {
      return showModel(requireModel(decodePath(path.slice(MODEL_PREFIX.length))), dialect === "anthropic");
    }
    return path === "/api/tags" ? listOllamaModels(models) : undefined;
  }

  async function generate(
    path: string,
    request: Request,
    answer: (call: Call) => Response,
  ): Promise<Response> {
    const text = await request.text();
    const body = parseJsonObject(text);
    const model = body["model"];
    if (typeof model !== "string" || model === "") throw missingField("model");
    requireModel(model);
    return answer({
      body,
      model,
      id: fingerprint(path, text),
      clock,
      stream(contentType, frames) {
        const pace = { clock, tokenDelayMs, signal: request.signal, onEnd };
        const headers = { "content-type": contentType, "cache-control": "no-cache" };
        return new Response(streamFrames(frames, pace), { headers });
      },
    });
  }

  async function route(path: string, request: Request, dialect: Dialect): Promise<Response> {
    const reads = request.method === "GET" || request.method === "HEAD";
    const found = reads ? read(path, dialect) : undefined;
    if (found !== undefined) return found;
    const answer = Object.hasOwn(GENERATORS, path) ? GENERATORS[path] : undefined;
    if (answer === undefined && (reads || read(path, dialect) === undefined)) {
      throw new Refusal(404, `Cannot ${request.method} ${path}: no such path`, { code: "unknown_url" });
    }
    if (answer === undefined || request.method !== "POST") {
      const allow = answer === undefined ? "GET, HEAD" : "POST";
      throw new Refusal(405, `Cannot ${request.method} ${path}: the path takes ${allow}`, { allow });
    }
    return generate(path, request, answer);
  }

  return {
    async fetch(request) {
      const path = pathOf(request);
      const dialect = dialectOf(path, request);
      try {
        return await route(path, request, dialect);
      } catch (thrown) {
        if (thrown instanceof Refusal) return answerRefusal(thrown, dialect);
        // A client that leaves while it sends makes reading fail, and there is nobody to tell.
        if (!request.signal.aborted)
          log.error("The demonstration model failed", { path, error: messageOf(thrown) });
        return answerRefusal(new Refusal(500, "Cannot answer: the demonstration model failed"), dialect);
      }
    },
  };
}
