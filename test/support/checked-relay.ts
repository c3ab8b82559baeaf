import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { createRelayApp } from "../../src/server/index.ts";
import { SilenceTicket } from "../../src/server/stream-check.ts";
import type { WorkerTicket } from "../../src/server/worker-connect.ts";
import type { TestCertificate } from "./certificates.ts";
import { relayConfig } from "./relays.ts";

/** What a WebSocket's owner is told. */
interface Session {
  receive(message: string | Uint8Array<ArrayBuffer>): void;
  closed(code: number): void;
}

interface SocketData {
  ticket: unknown;
  session: Session | undefined;
}

export interface CheckedRelay extends AsyncDisposable {
  port: number;
  url: string;
  /** Open silent WebSockets. */
  silent: Set<Bun.ServerWebSocket<SocketData>>;
  /** Answers instead of the relay where it returns something. */
  instead: ((request: Request) => Response | undefined) | undefined;
}

/** A relay behind a listener of the test's own, with TLS if it has a certificate. */
export function startCheckedRelay(
  options: { certificate?: TestCertificate; chainPem?: string; http2?: boolean } = {},
): CheckedRelay {
  const app = createRelayApp(relayConfig({}), { clock: systemClock, log: silentLog });
  const { certificate, http2 = false } = options;
  const silent = new Set<Bun.ServerWebSocket<SocketData>>();
  const server = Bun.serve<SocketData>({
    hostname: "127.0.0.1",
    port: 0,
    ...(certificate !== undefined && {
      tls: { cert: options.chainPem ?? certificate.chainPem, key: certificate.keyPem },
    }),
    http2,
    fetch(request, self) {
      const connection = {
        address: "127.0.0.1",
        allowSilence() {},
        limitSilence() {},
        upgrade: (ticket: unknown) => self.upgrade(request, { data: { ticket, session: undefined } }),
      };
      return relay.instead?.(request) ?? app.request(request, connection);
    },
    websocket: {
      data: {} as SocketData,
      open(socket) {
        const { ticket } = socket.data;
        if (ticket instanceof SilenceTicket) {
          silent.add(socket);
          socket.data.session = ticket.open(socket);
          return;
        }
        socket.data.session = app.worker(ticket as WorkerTicket, {
          send: (message) => socket.send(message) !== 0,
          buffered: () => socket.getBufferedAmount(),
          close: (code, reason) => socket.close(code, reason),
          terminate: () => socket.terminate(),
        });
      },
      message: (socket, message) => socket.data.session?.receive(message),
      close(socket, code) {
        silent.delete(socket);
        socket.data.session?.closed(code);
      },
    },
  });
  const port = server.port!;
  const relay: CheckedRelay = {
    port,
    url: `${certificate === undefined ? "http" : "https"}://127.0.0.1:${port}`,
    silent,
    instead: undefined,
    async [Symbol.asyncDispose]() {
      await app.relay.drain(0);
      await server.stop(true);
    },
  };
  return relay;
}
