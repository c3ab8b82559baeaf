import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { join } from "node:path";

/**
 * Where Nagle's algorithm (RFC 896) holds a small piece back until the one before it is acknowledged, and
 * the other end waits with that for company (RFC 1122 §4.2.3.2), the piece is 40 ms late on Linux.
 */
export const LATE_MS = 30;

/** Between the two pieces of an answer: the first is on its way, and not yet acknowledged anywhere. */
const BETWEEN_MS = 2;

/** An inference server that answers in two small pieces, each the time at which it was written. */
export interface SteppedBackend extends AsyncDisposable {
  url: string;
  port: number;
}

function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}

const STREAM_HEAD =
  "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

async function answerInSteps(socket: Socket): Promise<void> {
  socket.write(STREAM_HEAD + chunk(`data: first\n\n`));
  await Bun.sleep(BETWEEN_MS);
  socket.write(chunk(`data: ${performance.now()}\n\n`) + chunk(""));
}

export async function startSteppedBackend(): Promise<SteppedBackend> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    let held = "";
    socket.on("data", (data) => {
      held += data.toString();
      const end = held.indexOf("\r\n\r\n");
      const length = Number(/^content-length: (\d+)/im.exec(held)?.[1] ?? 0);
      if (end < 0 || held.length < end + 4 + length) return;
      const [line = ""] = held.split("\r\n", 1);
      held = "";
      if (line.startsWith("POST")) return void answerInSteps(socket);
      const models = line.includes("/v1/models") ? '{"object":"list","data":[{"id":"m"}]}' : "{}";
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${models.length}\r\n\r\n${models}`);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A TCP proxy with Nagle's algorithm on, in a process of its own. */
export async function startNagleProxy(target: number): Promise<AsyncDisposable & { port: number }> {
  const node = Bun.which("node");
  if (node === null) throw new Error("Cannot start a proxy with Nagle's algorithm: there is no node");
  const child = Bun.spawn([node, join(import.meta.dir, "nagle-proxy.mjs"), String(target)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const { value } = await child.stdout.getReader().read();
  return {
    port: Number(new TextDecoder().decode(value)),
    async [Symbol.asyncDispose]() {
      child.kill();
      await child.exited;
    },
  };
}

/**
 * Asks again and again on one connection for an answer in two small pieces: write, write, read is where a
 * link without `TCP_NODELAY` waits.
 *
 * @returns ms from the writing of each second piece to its arrival
 */
export async function measureSteps(port: number, steps: number): Promise<number[]> {
  const client = connect(port, "127.0.0.1");
  client.setNoDelay(true);
  let text = "";
  let arrived = Promise.withResolvers<void>();
  client.on("data", (data) => {
    text += data.toString();
    arrived.resolve();
  });
  client.on("close", () => arrived.reject(new Error(`The connection ended after ${text}`)));
  const body = '{"model":"m","messages":[],"stream":true}';
  const took: number[] = [];
  for (let step = 0; step < steps; step++) {
    text = "";
    client.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: relay.test\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    let written: string | undefined;
    while (written === undefined) {
      arrived = Promise.withResolvers();
      await arrived.promise;
      written = /data: ([\d.]+)\n\n/.exec(text)?.[1];
    }
    took.push(performance.now() - Number(written));
    while (!isWhole(text)) {
      arrived = Promise.withResolvers();
      await arrived.promise;
    }
  }
  arrived.promise.catch(() => {});
  client.destroy();
  return took;
}

/** On a busy machine both pieces can arrive in one turn, and leave as an answer of known length. */
function isWhole(answer: string): boolean {
  const length = /^content-length: (\d+)/im.exec(answer)?.[1];
  if (length === undefined) return answer.endsWith("0\r\n\r\n");
  return answer.length >= answer.indexOf("\r\n\r\n") + 4 + Number(length);
}

/** How many are as late as Nagle's algorithm makes them. */
export function lateOnes(took: readonly number[]): number {
  return took.filter((ms) => ms >= LATE_MS).length;
}

/** Counts of buckets of 10 ms, for the message of a test that fails. */
export function histogram(took: readonly number[]): Record<string, number> {
  const buckets: Record<string, number> = {};
  for (const ms of took.toSorted((a, b) => a - b)) {
    const from = Math.floor(ms / 10) * 10;
    buckets[`${from}-${from + 10} ms`] = (buckets[`${from}-${from + 10} ms`] ?? 0) + 1;
  }
  return buckets;
}
