import {
  connect,
  createServer as createTcpServer,
  type AddressInfo,
  type Server,
  type Socket,
} from "node:net";
import { createServer } from "node:tls";
import type { TestCertificate } from "./certificates.ts";

/** Ends TLS and hands on what is inside to a port of this machine, as a proxy does, or a man in the middle. */
export interface TlsFront extends AsyncDisposable {
  port: number;
  /** `https://127.0.0.1:<port>`. */
  url: string;
  /** Everything that clients have sent inside TLS. */
  received: string;
  /** Connections so far, whatever became of their handshakes. */
  connections: number;
  /** What is shown to the next clients. */
  show(certificate: TestCertificate): Promise<void>;
}

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  return (server.address() as AddressInfo).port;
}

/**
 * @param target port on 127.0.0.1
 * @param certificates shown one after the other, one for each connection; the last one from then on
 */
export async function startTlsFront(target: number, ...certificates: TestCertificate[]): Promise<TlsFront> {
  const open = new Set<Socket>();
  const servers: Server[] = [];

  function join(client: Socket, port: number, seen?: (data: Buffer) => void): void {
    const upstream = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(from);
      from.on("error", () => {});
      from.on("data", (data: Buffer) => {
        if (from === client) seen?.(data);
        to.write(data);
      });
      from.on("close", () => {
        open.delete(from);
        to.end();
      });
    }
  }

  /** A listener for one certificate; which one a client gets is decided before its handshake. */
  async function listenWith({ chainPem, keyPem }: TestCertificate): Promise<number> {
    const server = createServer({ cert: chainPem, key: keyPem }, (client) => {
      join(client, target, (data) => (front.received += data.toString("latin1")));
    });
    server.on("tlsClientError", () => {});
    servers.push(server);
    return listening(server);
  }

  const ports: number[] = [];
  for (const certificate of certificates) ports.push(await listenWith(certificate));
  const entrance = createTcpServer((client) => {
    join(client, (ports.length > 1 ? ports.shift() : ports[0]) ?? 0);
    front.connections++;
  });
  servers.push(entrance);
  const port = await listening(entrance);
  const front: TlsFront = {
    port,
    url: `https://127.0.0.1:${port}`,
    received: "",
    connections: 0,
    async show(certificate) {
      const next = await listenWith(certificate);
      ports.splice(0, ports.length, next);
    },
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    },
  };
  return front;
}
