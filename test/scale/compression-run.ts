// What compression of the link saves and costs: bytes between worker and relay, and time of the processor at
// both ends. By hand:
//
//     bun run build && bun test/scale/compression-run.ts

import { readFileSync } from "node:fs";
import { RawClient, postHead } from "../faults/raw-client.ts";
import { startCuttingProxy, type CuttingProxy } from "../support/cutting-proxy.ts";
import { startBinaryFleet, type BinaryFleet } from "./fleet.ts";

const STREAMS = 16;
const TOKENS = 1_500;
const BODIES = 60;

/** Ticks of the scheduler in user and kernel, 10 ms each (proc_pid_stat(5)). */
function cpuMs(fleet: BinaryFleet): number {
  let ticks = 0;
  for (const { pid } of [fleet.relay, ...fleet.workers]) {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * 10;
}

const WORDS =
  "the of and model attention layer token stream relay worker backend system user assistant please explain how each part of an answer is made when nobody looks".split(
    " ",
  );

function prose(seed: number, words: number): string {
  let state = seed + 1;
  const next = () => (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) >>> 8;
  return Array.from({ length: words }, () =>
    next() % 6 === 0 ? next().toString(36) : WORDS[next() % WORDS.length],
  ).join(" ");
}

function token(seed: number, content: string): string {
  const choices = [{ index: 0, delta: { content }, logprobs: null, finish_reason: null }];
  return `data: ${JSON.stringify({ id: `chatcmpl-${seed}`, object: "chat.completion.chunk", created: 1_767_225_600, model: "llama3.1:8b", choices })}\n\n`;
}

using backend = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  idleTimeout: 0,
  async fetch(request) {
    if (request.method === "GET") return Response.json({ data: [{ id: "m" }] });
    const { stream, seed } = (await request.json()) as { stream?: boolean; seed: number };
    if (stream !== true) return Response.json({ echoed: seed, text: prose(seed, 300) });
    async function* tokens() {
      for (const word of prose(seed, TOKENS).split(" ")) {
        yield token(seed, ` ${word}`);
        await Bun.sleep(5);
      }
    }
    return new Response(tokens(), { headers: { "content-type": "text/event-stream" } });
  },
});

for (const flags of [[], ["--compress"]]) {
  await using stack = new AsyncDisposableStack();
  let proxy: CuttingProxy | undefined;
  const fleet = stack.use(
    await startBinaryFleet(`http://127.0.0.1:${backend.port}`, {
      worker: ["--max-concurrency=64", ...flags],
      async linkUrl(relayUrl) {
        proxy = stack.use(await startCuttingProxy({ target: Number(new URL(relayUrl).port) }));
        return proxy.url;
      },
    }),
  );
  const bytes = () => {
    let [up, down] = [0, 0];
    for (const connection of proxy!.open) {
      up += connection.up.passed;
      down += connection.down.passed;
    }
    return { up, down };
  };
  const measure = async (what: string, count: number, run: () => Promise<unknown>): Promise<void> => {
    const [before, cpu] = [bytes(), cpuMs(fleet)];
    await run();
    const after = bytes();
    const each = ((cpuMs(fleet) - cpu) * 1_000) / count;
    process.stdout.write(
      `${flags[0] ?? "plain"}: ${what}: up ${after.up - before.up} B, down ${after.down - before.down} B, ${each.toFixed(0)} us of processor each\n`,
    );
  };
  await measure(`${STREAMS} streams of ${TOKENS} tokens`, STREAMS * TOKENS, async () => {
    const clients = await Promise.all(
      Array.from({ length: STREAMS }, (_, seed) => RawClient.chat(fleet.port, { stream: true, seed })),
    );
    await Promise.all(clients.map((client) => client.answer()));
  });
  await measure(`${BODIES} bodies of JSON`, BODIES, async () => {
    for (let seed = 0; seed < BODIES; seed++) {
      const messages = Array.from({ length: 200 }, (_, n) => ({
        role: "user",
        content: prose(seed * 200 + n, 200),
      }));
      const body = JSON.stringify({ model: "m", seed, messages });
      const client = await RawClient.connect(fleet.port);
      client.write(postHead(Buffer.byteLength(body)) + body);
      await client.answer();
    }
  });
}
process.exit(0);
