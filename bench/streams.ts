import { pause, sharedNow } from "./clock.ts";
import { type BenchRequest, encodeQuestion } from "./completion.ts";
import { Connection, type Reply, encodePost } from "./connection.ts";
import type { JobResult, StreamsJob } from "./job.ts";
import { FailureCount, Window } from "./measure.ts";
import { quantiles } from "./stats.ts";
import { TokenReader } from "./tokens.ts";

/** Length of a streaming request's body: a short chat question. */
const QUESTION_BYTES = 300;

function streamFault(reply: Reply, reader: TokenReader, asked: number): string | undefined {
  if (reply.status !== 200) return `status ${reply.status}: ${reply.body.toString("utf8", 0, 200)}`;
  if (reader.misplaced > 0) return `${reader.misplaced} tokens lost, repeated or out of order`;
  if (reader.tokens !== asked) return `${reader.tokens} tokens instead of ${asked}`;
  if (!reader.done || reader.heldBytes > 0) return "a stream that ended without [DONE]";
  return undefined;
}

/** Runs streams, each read to its end and checked token by token. */
export async function runStreams(job: StreamsJob): Promise<JobResult> {
  const baseUrl = new URL(job.baseUrl);
  const failures = new FailureCount();
  const delays: number[] = [];
  let tokens = 0;
  let tokensTotal = 0;
  let requests = 0;
  let requestsTotal = 0;
  const paced = job.intervalMs > 0;
  const window = new Window(job.warmupMs + (paced ? job.rampMs : 0), job.durationMs);

  function ask(tokensAsked: number): Buffer {
    const bench: BenchRequest = { tokens: tokensAsked, intervalMs: job.intervalMs, burst: job.burst };
    if (job.backdateMs !== undefined) bench.backdateMs = job.backdateMs;
    return encodePost(baseUrl, encodeQuestion(bench, true, QUESTION_BYTES));
  }

  async function runStream(connection: Connection, tokensAsked: number, request: Buffer): Promise<void> {
    let inWindow = false;
    let arrivedAt = 0;
    connection.onPiece = () => {
      inWindow = window.holds(performance.now());
      arrivedAt = sharedNow();
    };
    const reader = new TokenReader((stampMs) => {
      if (!inWindow) return;
      tokens++;
      if (paced) delays.push(arrivedAt - stampMs);
    });
    try {
      const reply = await connection.exchange(request, (from, start, end) => reader.push(from, start, end));
      const fault = streamFault(reply, reader, tokensAsked);
      if (fault !== undefined) failures.add(fault);
      else if (window.holds(performance.now())) requests++;
    } catch (error) {
      failures.add((error as Error).message);
      await pause(10);
    }
    requestsTotal++;
    tokensTotal += reader.tokens;
  }

  async function runConnection(index: number): Promise<void> {
    const connection = new Connection(baseUrl);
    if (paced) {
      await pause((job.rampMs * index) / job.connections);
      const length = Math.ceil((window.end - performance.now()) / job.intervalMs) + 1;
      await runStream(connection, length, ask(length));
    } else {
      const request = ask(job.tokens);
      while (performance.now() < window.end && !failures.hopeless)
        await runStream(connection, job.tokens, request);
    }
    connection.close();
  }

  await Promise.all(Array.from({ length: job.connections }, (_, index) => runConnection(index)));
  return {
    requests,
    tokens,
    tokensTotal,
    requestsTotal,
    windowMs: job.durationMs,
    latencyMs: quantiles([]),
    delayMs: quantiles(delays),
    ...failures.report(),
    generatorCpu: window.cpuShare(),
  };
}
