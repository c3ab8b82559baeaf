import { eventsOf } from "../faults/content.ts";

/** What a request asks of this backend; all of it in the body of a chat request. */
export interface Asked {
  seed: number;
  /** Events of the stream before `[DONE]`, and the time between two of them. */
  events?: number;
  gapMs?: number;
  /** The whole stream at once, as one body. */
  whole?: boolean;
  status?: number;
}

/** An inference server whose answers follow from their seeds, at the pace that is asked for. */
export interface PacedBackend extends AsyncDisposable {
  url: string;
  /** Requests that run now, and the most that ran at once. */
  readonly running: number;
  readonly most: number;
}

export function bodyOf({ seed, events = 0 }: Pick<Asked, "seed" | "events">): string {
  return eventsOf(seed, events).join("");
}

export function startPacedBackend(): PacedBackend {
  const load = { running: 0, most: 0 };
  const encoder = new TextEncoder();
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    development: false,
    reusePort: false,
    async fetch(request) {
      const { pathname } = new URL(request.url);
      if (pathname === "/v1/models") return Response.json({ object: "list", data: [{ id: "m" }] });
      if (pathname !== "/v1/chat/completions") return new Response("no", { status: 404 });
      const asked = (await request.json()) as Asked;
      const { seed, events = 0, gapMs = 0, whole = false, status = 200 } = asked;
      if (whole)
        return new Response(bodyOf(asked), { status, headers: { "content-type": "application/json" } });
      load.most = Math.max(load.most, ++load.running);
      async function* stream(): AsyncGenerator<Uint8Array> {
        try {
          for (const event of eventsOf(seed, events)) {
            yield encoder.encode(event);
            await Bun.sleep(gapMs);
          }
        } finally {
          load.running--;
        }
      }
      return new Response(stream(), { status, headers: { "content-type": "text/event-stream" } });
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    get running() {
      return load.running;
    },
    get most() {
      return load.most;
    },
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}
