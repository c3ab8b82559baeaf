import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls, type SecureVersion, type TLSSocket } from "node:tls";

/** Where to connect, and how. */
export interface Dial {
  /** An IP address, or a name that the system resolves. */
  address: string;
  port: number;
  /** Absent: plain TCP. */
  tls?: TlsDial;
}

export interface TlsDial {
  /** Name that is asked for (SNI). An address asks for none. */
  host: string;
  /** Authorities in PEM; see `trustedRoots`. */
  roots: readonly string[];
  protocols?: readonly string[];
  minVersion?: SecureVersion;
  maxVersion?: SecureVersion;
}

/** Bytes that may wait to be read before the peer is slowed down. */
const MAX_WAITING = 64 * 1024;

/** A connection that is read piece by piece. What a check sends is no secret: the server's is what is judged. */
export class Wire {
  readonly socket: Socket | TLSSocket;
  #pieces: Buffer[] = [];
  #waiting = 0;
  #ended: Error | "end" | undefined;
  #wake: (() => void) | undefined;

  private constructor(socket: Socket | TLSSocket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (piece: Buffer) => {
      this.#pieces.push(piece);
      this.#waiting += piece.length;
      if (this.#waiting > MAX_WAITING) socket.pause();
      this.#wake?.();
    });
    socket.on("error", (error) => this.#end(error));
    socket.on("end", () => this.#end("end"));
    socket.on("close", () => this.#end("end"));
  }

  /**
   * Connects. A certificate that would be refused is not: `socket.authorizationError` of a TLS wire says
   * what is wrong with its chain, and names are the caller's to compare.
   *
   * @param signal destroys the connection, now or later
   * @throws what the socket reports, with its `code`
   */
  static async open({ address, port, tls }: Dial, signal: AbortSignal): Promise<Wire> {
    signal.throwIfAborted();
    const socket =
      tls === undefined ? connectTcp({ host: address, port }) : connectTls(tlsOptions(address, port, tls));
    signal.addEventListener("abort", () => socket.destroy(), { once: true });
    // Whoever waits is told below; what comes after that must not end the process.
    socket.on("error", () => {});
    await new Promise<void>((resolve, reject) => {
      socket.once(tls === undefined ? "connect" : "secureConnect", () => resolve());
      socket.once("error", reject);
      socket.once("close", () =>
        reject(Object.assign(new Error("closed by the other side"), { code: "ECONNRESET" })),
      );
    });
    return new Wire(socket);
  }

  write(data: string | Uint8Array): void {
    this.socket.write(data);
  }

  /** The next bytes; `undefined` once the peer has ended the connection in order. */
  async read(): Promise<Buffer | undefined> {
    for (;;) {
      const piece = this.#pieces.shift();
      if (piece !== undefined) {
        this.#waiting -= piece.length;
        if (this.#waiting <= MAX_WAITING) this.socket.resume();
        return piece;
      }
      if (this.#ended === "end") return undefined;
      if (this.#ended !== undefined) throw this.#ended;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  close(): void {
    this.socket.destroy();
  }

  #end(how: Error | "end"): void {
    this.#ended ??= how;
    this.#wake?.();
  }
}

function tlsOptions(address: string, port: number, tls: TlsDial) {
  const { host, roots, protocols, minVersion, maxVersion } = tls;
  return {
    host: address,
    port,
    ca: [...roots],
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
    ...(isIP(host) === 0 && { servername: host }),
    ...(protocols !== undefined && { ALPNProtocols: [...protocols] }),
    ...(minVersion !== undefined && { minVersion }),
    ...(maxVersion !== undefined && { maxVersion }),
  };
}
