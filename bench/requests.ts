import { pause } from "./clock.ts";
import { encodeQuestion } from "./completion.ts";
import { Connection, type Reply, encodePost } from "./connection.ts";
import type { JobResult, RequestsJob } from "./job.ts";
import { FailureCount, Window } from "./measure.ts";
import { quantiles } from "./stats.ts";

/**
 * Whether an answer is the one that was asked for. The first of a connection is read in full, the
 * others must be as long: reading each would measure the generator's JSON parser.
 */
function answerFault(
  reply: Reply,
  job: RequestsJob,
  requestBytes: number,
  knownBytes: number,
): string | undefined {
  if (reply.status !== 200) return `status ${reply.status}: ${reply.body.toString("utf8", 0, 200)}`;
  if (knownBytes > 0)
    return reply.bodyBytes === knownBytes ? undefined : `${reply.bodyBytes} bytes instead of ${knownBytes}`;
  const answer = JSON.parse(reply.body.toString()) as {
    usage?: { prompt_tokens?: number };
    choices?: { message?: { content?: string } }[];
  };
  const arrived = answer.usage?.prompt_tokens;
  if (arrived !== requestBytes) return `the backend received ${arrived} bytes of ${requestBytes}`;
  const content = answer.choices?.[0]?.message?.content ?? "";
  return content === "x".repeat(job.responseBytes)
    ? undefined
    : `an answer of ${content.length} characters instead of ${job.responseBytes}`;
}

/** Runs whole requests back to back on each connection until the window ends; lets the last ones finish. */
export async function runRequests(job: RequestsJob): Promise<JobResult> {
  const baseUrl = new URL(job.baseUrl);
  const bench = {
    responseBytes: job.responseBytes,
    ...(job.delayMs === undefined ? {} : { delayMs: job.delayMs }),
  };
  const question = encodeQuestion(bench, false, job.requestBytes);
  const request = encodePost(baseUrl, question);
  const failures = new FailureCount();
  const latencies: number[] = [];
  let requestsTotal = 0;
  const window = new Window(job.warmupMs, job.durationMs);

  async function runConnection(): Promise<void> {
    const connection = new Connection(baseUrl);
    let knownBytes = 0;
    const skip = () => {};
    while (performance.now() < window.end && !failures.hopeless) {
      const sentAt = performance.now();
      try {
        const reply = await connection.exchange(request, knownBytes > 0 ? skip : undefined);
        const now = performance.now();
        requestsTotal++;
        const fault = answerFault(reply, job, question.length, knownBytes);
        if (fault !== undefined) failures.add(fault);
        else if (window.holds(now)) latencies.push(now - sentAt);
        if (fault === undefined) knownBytes = reply.bodyBytes;
      } catch (error) {
        failures.add((error as Error).message);
        await pause(10);
      }
    }
    connection.close();
  }

  await Promise.all(Array.from({ length: job.connections }, runConnection));
  return {
    requests: latencies.length,
    tokens: 0,
    tokensTotal: 0,
    requestsTotal,
    windowMs: job.durationMs,
    latencyMs: quantiles(latencies),
    delayMs: quantiles([]),
    ...failures.report(),
    generatorCpu: window.cpuShare(),
  };
}
