import { expect, test } from "bun:test";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { startCuttingProxy, type CuttingProxyOptions } from "../support/cutting-proxy.ts";
import { Inbox } from "../support/inbox.ts";

// What the tests of this folder stand on: a proxy that did nothing would let all of them pass.

/** One side of a connection: what it gets, and how it ends. */
class Side {
  readonly pieces = new Inbox<Buffer>();
  readonly ends = new Inbox<string>();
  readonly socket: Socket;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (data) => this.pieces.put(data as Buffer));
    socket.on("end", () => this.ends.put("end"));
    socket.on("error", (error: NodeJS.ErrnoException) => this.ends.put(error.code ?? "error"));
  }

  /** The pieces in which so many bytes came. */
  async read(bytes: number): Promise<string[]> {
    const read: Buffer[] = [];
    for (let left = bytes; left > 0; left -= read.at(-1)?.length ?? 0) read.push(await this.pieces.next());
    return read.map((piece) => piece.toString("latin1"));
  }
}

async function pair(options: Omit<CuttingProxyOptions, "target">) {
  const stack = new AsyncDisposableStack();
  const arrived = new Inbox<Side>();
  const server = createServer({ allowHalfOpen: true }, (socket) => arrived.put(new Side(socket)));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  stack.defer(() => void server.close());
  const proxy = stack.use(
    await startCuttingProxy({ target: (server.address() as AddressInfo).port, ...options }),
  );
  const client = new Side(connect({ port: proxy.port, host: "127.0.0.1", allowHalfOpen: true }));
  const target = await arrived.next();
  const connection = await proxy.accepted.next();
  stack.defer(() => {
    client.socket.destroy();
    target.socket.destroy();
  });
  return { proxy, client, target, connection, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

test("Proxy hands on what it gets, and each end's end", async () => {
  await using link = await pair({});
  link.client.socket.end("question");
  expect((await link.target.read(8)).join("")).toBe("question");
  expect(await link.target.ends.next()).toBe("end");
  link.target.socket.end("answer");
  expect((await link.client.read(6)).join("")).toBe("answer");
  expect(await link.client.ends.next()).toBe("end");
  await link.connection.closed;
});

test("Proxy splits into single bytes that arrive one by one", async () => {
  await using link = await pair({ up: { split: 1, delayMs: 2 } });
  link.client.socket.write("abcd");
  expect(await link.target.read(4)).toEqual(["a", "b", "c", "d"]);
});

test("Proxy splits inside a character of several bytes", async () => {
  await using link = await pair({ down: { split: "inside characters", delayMs: 5 } });
  link.target.socket.write("aé🙂b");
  expect(await link.client.read(8)).toEqual(["a\xc3", "\xa9\xf0", "\x9f\x99\x82b"]);
});

test("Proxy cuts after exactly so many bytes", async () => {
  await using link = await pair({ up: { cutAfter: 5 } });
  link.client.socket.write("abcdefgh");
  expect((await link.target.read(5)).join("")).toBe("abcde");
  expect([await link.target.ends.next(), await link.client.ends.next()]).toEqual(["end", "end"]);
  expect(link.target.pieces.items).toEqual([]);
});

test("Proxy resets both ends", async () => {
  await using link = await pair({});
  link.connection.cut("reset");
  expect([await link.target.ends.next(), await link.client.ends.next()]).toEqual([
    "ECONNRESET",
    "ECONNRESET",
  ]);
});

test("Proxy goes silent and closes nothing", async () => {
  await using link = await pair({});
  link.client.socket.write("heard");
  await link.target.read(5);
  link.proxy.silence();
  link.client.socket.end("not heard");
  link.target.socket.write("nor this");
  // A connection made afterwards carries bytes, so that time has passed for the silent one too.
  const other = new Side(connect(link.proxy.port, "127.0.0.1"));
  await link.proxy.accepted.next();
  other.socket.end("other");
  for (const connection of link.proxy.open) if (connection !== link.connection) await connection.up.until(5);
  expect([link.target.pieces.items, link.target.ends.items, link.client.pieces.items]).toEqual([[], [], []]);
  expect(link.proxy.open.has(link.connection)).toBe(true);
});
