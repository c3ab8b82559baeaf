import { readdirSync, readlinkSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { createRelayApp } from "../../src/server/index.ts";
import { listen, type ListenerHandlers } from "../../src/server/listener.ts";
import type { WorkerTicket } from "../../src/server/worker-connect.ts";
import { selfSignedPair } from "../../src/tls/self-signed.ts";
import { CHAT } from "../contract/promise.ts";
import type { Message } from "../support/raw-worker.ts";
import { connectRawWorker, relayConfig } from "../support/relays.ts";
import { BODY } from "./hostile-requests.ts";

/** One of the relay's ports, plain or for TLS. */
export interface Door {
  name: "HTTP" | "HTTPS";
  url: string;
  port: number;
  /** Connects up to where HTTP begins; errors of the connection are of no interest. Plain HTTP is 1.1. */
  dial: (protocol?: "http/1.1" | "h2") => Socket;
}

/** A relay with a worker and both kinds of port, and what reached the worker. */
export interface HostileRig extends AsyncDisposable {
  doors: Record<Door["name"], Door>;
  /** Requests that the worker was given. */
  given: Message[];
  /** Sends a proper chat request, and throws unless it is answered properly. */
  ask(door: Door): Promise<void>;
  /** Resolves once no more sockets are open than when the rig was made, and the relay holds nothing. */
  settled(): Promise<void>;
}

/** @param idleSecs as of the relay, unless a test is about it */
export async function startHostileRig(idleSecs?: number): Promise<HostileRig> {
  const app = createRelayApp(relayConfig({}), { clock: systemClock, log: silentLog });
  const handlers: ListenerHandlers = {
    request: (request, connection) => app.request(request, connection),
    socket: (ticket, socket) => app.worker(ticket as WorkerTicket, socket),
  };
  const address = { host: "127.0.0.1", port: 0 };
  const pair = selfSignedPair({ names: ["localhost"], nowMs: Date.now() });
  const plain = listen(address, 1e9, handlers, { idleSecs });
  const secure = listen(address, 1e9, handlers, {
    secure: { identities: [{ names: ["localhost"], ...pair }], carrier: "tcp", http2: true },
    idleSecs,
  });
  const doors: HostileRig["doors"] = {
    HTTP: {
      name: "HTTP",
      url: `http://localhost:${plain.port}`,
      port: plain.port,
      dial: () => quiet(connect(plain.port, "127.0.0.1")),
    },
    HTTPS: {
      name: "HTTPS",
      url: `https://localhost:${secure.port}`,
      port: secure.port,
      dial: (protocol = "http/1.1") =>
        quiet(
          connectTls({
            port: secure.port,
            host: "127.0.0.1",
            servername: "localhost",
            ca: pair.chainPem,
            ALPNProtocols: [protocol],
          }),
        ),
    },
  };
  const worker = await connectRawWorker(`http://127.0.0.1:${plain.port}`);
  await worker.register(["m"], { max_concurrent: 1_000 });
  const given: Message[] = [];
  const serving = (async () => {
    for (;;) {
      const request = await worker.next("request");
      given.push(request);
      worker.complete(request, 200, '{"answer":true}');
    }
  })();
  serving.catch(() => {});
  const before = openSockets();

  return {
    doors,
    given,
    async ask({ url }) {
      const response = await fetch(url + CHAT, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: BODY,
        keepalive: false,
        tls: { ca: pair.chainPem },
      });
      const text = await response.text();
      if (text !== '{"answer":true}') throw new Error(`A proper request got ${response.status} ${text}`);
    },
    async settled() {
      while (openSockets() > before || app.relay.core.requestCount > 0 || app.relay.budget.held > 0)
        await new Promise((resolve) => setImmediate(resolve));
    },
    async [Symbol.asyncDispose]() {
      worker.cut();
      await app.relay.drain(0);
      await Promise.all([plain.stop(), secure.stop()]);
    },
  };
}

/** Connections that are refused end as they end. */
export function quiet(socket: Socket): Socket {
  return socket.on("error", () => {});
}

/** Sockets of this process, both ends of its own connections; where /proc is not, none. */
function openSockets(): number {
  if (process.platform !== "linux") return 0;
  let count = 0;
  for (const descriptor of readdirSync("/proc/self/fd")) {
    try {
      if (readlinkSync(`/proc/self/fd/${descriptor}`).startsWith("socket:")) count += 1;
    } catch {
      // Closed since the folder was read.
    }
  }
  return count;
}

/** What a connection brought: each answer's status, everything as text, and whether the relay closed it. */
export interface Outcome {
  statuses: number[];
  text: string;
  closed: boolean;
}

/**
 * Writes bytes and reads until the relay has closed the connection, or `enough` holds for what came.
 *
 * @param cut bytes a write, to see that the answer does not depend on how they arrive
 */
export async function outcomeOf(
  socket: Socket,
  bytes: string,
  enough: (text: string) => boolean = () => false,
  cut = Number.POSITIVE_INFINITY,
): Promise<Outcome> {
  const ended = Promise.withResolvers<boolean>();
  let text = "";
  const onData = (data: Buffer) => {
    text += data.toString("latin1");
    if (enough(text)) ended.resolve(false);
  };
  socket.on("data", onData);
  socket.once("close", () => ended.resolve(true));
  void write(socket, bytes, cut);
  const closed = await ended.promise;
  socket.off("data", onData);
  const statuses = [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]));
  return { statuses, text, closed };
}

async function write(socket: Socket, bytes: string, cut: number): Promise<void> {
  const data = Buffer.from(bytes, "latin1");
  if (cut >= data.length) return void socket.write(data);
  for (let at = 0; at < data.length && !socket.destroyed; at += cut) {
    socket.write(data.subarray(at, at + cut));
    await new Promise((resolve) => setImmediate(resolve));
  }
}
