import type { TlsProxy } from "../support/proxy-process.ts";
import type { Authority } from "./authority.ts";

/** In place of a relay: takes WebSockets, and says nothing on them that was not said to it. */
export interface SilentUpstream extends AsyncDisposable {
  port: number;
  /** Lets every plain request that waits for its answer have one. */
  answer(): void;
}

export function startSilentUpstream(): SilentUpstream {
  const answer = Promise.withResolvers<void>();
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    async fetch(request, self) {
      if (self.upgrade(request)) return undefined;
      await answer.promise;
      return new Response("answered");
    },
    // Not even a ping, which would reset every timer on the way.
    websocket: { idleTimeout: 0, sendPings: false, message: (socket, message) => void socket.send(message) },
  });
  return {
    port: server.port!,
    answer: () => answer.resolve(),
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}

/** A worker's place at a proxy. */
export interface SilentLink {
  closed: Promise<void>;
  /** Says something and waits for the answer. Rejects if the link is closed. */
  echo(text: string): Promise<string>;
}

export async function openLink(proxy: TlsProxy, authority: Authority): Promise<SilentLink> {
  const socket = new WebSocket(`${proxy.url.replace("https", "wss")}/v1/worker/connect`, {
    tls: { ca: authority.caPem },
  });
  const closed = new Promise<void>((resolve) => socket.addEventListener("close", () => resolve()));
  const failed = closed.then(() => Promise.reject(new Error("The proxy closed the link")));
  failed.catch(() => {});
  await Promise.race([new Promise((resolve) => socket.addEventListener("open", resolve)), failed]);
  return {
    closed,
    async echo(text) {
      const answer = new Promise<string>((resolve) =>
        socket.addEventListener("message", (event) => resolve(String(event.data)), { once: true }),
      );
      socket.send(text);
      return Promise.race([answer, failed]);
    },
  };
}
