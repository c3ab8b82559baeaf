import { parseArgs } from "node:util";
import { pause, sharedNow } from "./clock.ts";
import {
  type BenchRequest,
  MODEL,
  STREAM_END,
  decodeQuestion,
  encodeAnswer,
  encodeTokens,
} from "./completion.ts";

/**
 * A backend that costs as little as it can: it counts, stamps and writes. Its answers are decided by
 * the `bench` object of the request, see {@link BenchRequest}.
 */
const MODELS = JSON.stringify({
  object: "list",
  data: [{ id: MODEL, object: "model", created: 1_700_000_000, owned_by: "bench" }],
});
const JSON_HEADERS = { "content-type": "application/json" };
const STREAM_HEADERS = { "content-type": "text/event-stream", "cache-control": "no-cache" };

async function* streamTokens(bench: BenchRequest): AsyncGenerator<Uint8Array> {
  const { tokens = 16, intervalMs = 0, burst = 1, backdateMs = 0 } = bench;
  const stamp = (sequence: number) => sharedNow() - (backdateMs > 0 ? sequence % backdateMs : 0);
  const startedAt = sharedNow();
  for (let sequence = 0; sequence < tokens; sequence += burst) {
    // A turn of the event loop between two pieces: else the runtime joins them, and 8 streams measure
    // how fast large blocks are copied.
    if (sequence > 0 || intervalMs > 0)
      await pause(intervalMs === 0 ? 0 : startedAt + sequence * intervalMs - sharedNow());
    yield encodeTokens(sequence, Math.min(burst, tokens - sequence), stamp);
  }
  yield STREAM_END;
}

const answers = new Map<string, Uint8Array<ArrayBuffer>>();

async function complete(request: Request): Promise<Response> {
  const body = new Uint8Array(await request.arrayBuffer());
  const { bench, stream } = decodeQuestion(body);
  // Bun takes an async generator as a body and stops pulling when the client stops reading.
  if (stream) return new Response(streamTokens(bench), { headers: STREAM_HEADERS });
  if (bench.delayMs !== undefined) await pause(bench.delayMs);
  const key = `${bench.responseBytes ?? 16} ${body.byteLength}`;
  let answer = answers.get(key);
  if (answer === undefined) {
    answer = encodeAnswer(bench.responseBytes ?? 16, body.byteLength) as Uint8Array<ArrayBuffer>;
    if (answers.size < 64) answers.set(key, answer);
  }
  return new Response(answer, { headers: JSON_HEADERS });
}

/** Starts the backend on 127.0.0.1. @param port 0 for a free one */
export function startBackend(port: number): Bun.Server<undefined> {
  return Bun.serve({
    hostname: "127.0.0.1",
    port,
    idleTimeout: 0,
    maxRequestBodySize: 64 * 1024 * 1024,
    development: false,
    routes: {
      "/v1/models": () => new Response(MODELS, { headers: JSON_HEADERS }),
      "/v1/chat/completions": { POST: complete },
    },
    fetch: () =>
      new Response(`{"error":{"message":"not found","type":"invalid_request_error"}}`, {
        status: 404,
        headers: JSON_HEADERS,
      }),
  });
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { port: { type: "string", default: "0" } } });
  console.log(`listening on http://127.0.0.1:${startBackend(Number(values.port)).port}`);
}
