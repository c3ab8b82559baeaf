import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { Inbox } from "./inbox.ts";

/**
 * A TCP proxy between any two parts that does to a connection what networks do: cuts it, goes silent,
 * delays, throttles, and hands the bytes on in other pieces than it got them.
 *
 * ```
 * client ── up ──► proxy ── up ──► target
 * client ◄─ down ─ proxy ◄─ down ─ target
 * ```
 */

/** FIN on both sides, or a reset on both. */
export type CutKind = "close" | "reset";

/** What happens to the bytes of one direction. */
export interface Flow {
  /** Bytes per write at most, or a cut inside each multi-byte character; each write is its own turn. */
  split?: number | "inside characters";
  /** Wait before each write, in ms. */
  delayMs?: number;
  bytesPerSecond?: number;
  /** Cuts the connection once so many bytes have passed. */
  cutAfter?: number;
  cutKind?: CutKind;
}

export interface CuttingProxyOptions {
  /** Port on 127.0.0.1. */
  target: number;
  up?: Flow;
  down?: Flow;
}

export interface CuttingProxy extends AsyncDisposable {
  port: number;
  url: string;
  /** How connections that come from now on are treated. */
  up: Flow;
  down: Flow;
  /** While false, new connections are reset. */
  accepting: boolean;
  /** While true, new connections carry nothing, as those do that `silence` has met. */
  silent: boolean;
  /** The next new connection; those not asked for wait. */
  accepted: Inbox<ProxiedConnection>;
  /** Connections that are open now. */
  open: ReadonlySet<ProxiedConnection>;
  /** Cuts all that is open. */
  cut(kind: CutKind): void;
  /** All that is open stays open and carries nothing any more, not even its end. */
  silence(): void;
}

/** One direction of a connection: bytes wait here and leave as the flow says. */
class Pipe {
  /** Bytes handed on. */
  passed = 0;
  silent = false;
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #flow: Flow;
  readonly #cut: (kind: CutKind) => void;
  #waiting: { atLeast: number; resolve: () => void }[] = [];
  #last: Promise<void> = Promise.resolve();

  constructor(from: Socket, to: Socket, flow: Flow, cut: (kind: CutKind) => void) {
    this.#from = from;
    this.#to = to;
    this.#flow = flow;
    this.#cut = cut;
    from.setNoDelay(true);
    from.on("data", (data) => {
      from.pause();
      this.#last = this.#last.then(() => this.#pass(data as Buffer));
    });
    from.on("end", () => {
      this.#last = this.#last.then(() => this.#passEnd());
    });
    from.on("error", () => {
      if (!this.silent) to.resetAndDestroy();
    });
  }

  /** Resolves once so many bytes have passed since the connection began. */
  until(bytes: number): Promise<void> {
    if (this.passed >= bytes) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ atLeast: bytes, resolve }));
  }

  #passEnd(): void {
    if (!this.silent && !this.#to.destroyed) this.#to.end();
  }

  async #pass(data: Buffer): Promise<void> {
    for (const piece of pieces(data, this.#flow.split)) {
      const { delayMs = 0, bytesPerSecond, cutAfter = Infinity, split } = this.#flow;
      const pauseMs = delayMs + (bytesPerSecond === undefined ? 0 : (piece.length / bytesPerSecond) * 1_000);
      if (pauseMs > 0) await Bun.sleep(pauseMs);
      else if (split !== undefined) await new Promise((resolve) => setImmediate(resolve));
      if (this.silent || this.#to.destroyed) return;
      const part = piece.subarray(0, cutAfter - this.passed);
      // Waits for the kernel, so that a slow receiver slows the sender down.
      await new Promise<void>((resolve) => {
        this.#to.once("close", resolve);
        this.#to.write(part, () => {
          this.#to.off("close", resolve);
          resolve();
        });
      });
      this.passed += part.length;
      for (const waiter of this.#waiting) if (this.passed >= waiter.atLeast) waiter.resolve();
      this.#waiting = this.#waiting.filter(({ atLeast }) => atLeast > this.passed);
      if (this.passed >= cutAfter) return this.#cut(this.#flow.cutKind ?? "close");
    }
    if (!this.silent) this.#from.resume();
  }
}

function pieces(data: Buffer, split: Flow["split"]): Buffer[] {
  if (split === undefined) return [data];
  const parts: Buffer[] = [];
  let start = 0;
  for (let at = 1; at < data.length; at++) {
    // 0xc0 and above begins a character of several bytes.
    const here = split === "inside characters" ? (data[at - 1] ?? 0) >= 0xc0 : at - start >= split;
    if (here) parts.push(data.subarray(start, (start = at)));
  }
  parts.push(data.subarray(start));
  return parts;
}

async function closeOf(...sides: Socket[]): Promise<void> {
  await Promise.all(sides.map((side) => new Promise<void>((resolve) => side.once("close", () => resolve()))));
}

/** One connection through the proxy. */
export class ProxiedConnection {
  readonly up: Pipe;
  readonly down: Pipe;
  /** Resolves when both sides are closed. */
  readonly closed: Promise<void>;
  readonly #sides: [Socket, Socket];

  constructor(client: Socket, target: Socket, flows: { up: Flow; down: Flow }) {
    this.#sides = [client, target];
    this.up = new Pipe(client, target, flows.up, (kind) => this.cut(kind));
    this.down = new Pipe(target, client, flows.down, (kind) => this.cut(kind));
    this.closed = closeOf(client, target);
  }

  cut(kind: CutKind): void {
    for (const side of this.#sides) {
      if (kind === "reset") side.resetAndDestroy();
      else side.end(() => side.destroy());
    }
  }

  silence(): void {
    this.up.silent = true;
    this.down.silent = true;
    for (const side of this.#sides) side.pause();
  }

  /** One end's socket is gone, by a reset; the other end hears nothing of it, nor of anything else. */
  lose(end: "client" | "target"): void {
    this.silence();
    this.#sides[end === "client" ? 0 : 1].resetAndDestroy();
  }

  destroy(): void {
    for (const side of this.#sides) side.destroy();
  }
}

export async function startCuttingProxy(options: CuttingProxyOptions): Promise<CuttingProxy> {
  const open = new Set<ProxiedConnection>();
  const accepted = new Inbox<ProxiedConnection>();
  const server = createServer({ allowHalfOpen: true }, (client) => {
    if (!proxy.accepting) {
      client.resetAndDestroy();
      return;
    }
    const target = connect({ port: options.target, host: "127.0.0.1", allowHalfOpen: true });
    const connection = new ProxiedConnection(client, target, { up: proxy.up, down: proxy.down });
    if (proxy.silent) connection.silence();
    open.add(connection);
    void connection.closed.then(() => open.delete(connection));
    accepted.put(connection);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  const proxy: CuttingProxy = {
    port,
    url: `http://127.0.0.1:${port}`,
    up: options.up ?? {},
    down: options.down ?? {},
    accepting: true,
    silent: false,
    accepted,
    open,
    cut(kind) {
      for (const connection of open) connection.cut(kind);
    },
    silence() {
      for (const connection of open) connection.silence();
    },
    async [Symbol.asyncDispose]() {
      for (const connection of open) connection.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}
