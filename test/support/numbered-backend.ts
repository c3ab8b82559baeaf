/** What one stream has sent so far. */
interface Sent {
  text: string;
  finish: () => void;
}

/**
 * An inference server whose streams go on, one numbered event after the other, until they are told to end. Who
 * says that no stream is wanted gets a short answer at once, for one token each way.
 */
export interface NumberedBackend extends AsyncDisposable {
  url: string;
  /** Streams that have begun. */
  readonly streams: number;
  /** Ends all streams with `[DONE]`. */
  finish(): void;
  /** All that the stream for this user has sent. */
  sent(user: string): string;
}

/** Time between two events of a stream. */
const EVENT_MS = 4;
/** Makes the events differ in length, so that they are cut at any place on their way. */
const FILL = "0123456789abcdefghijklmnopqrstuvwxyzäöü世界".repeat(8);

const SHORT = {
  id: "short",
  object: "chat.completion",
  model: "numbers",
  choices: [{ index: 0, message: { role: "assistant", content: "1" }, finish_reason: "stop" }],
  usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
};

export function startNumberedBackend(): NumberedBackend {
  const streams = new Map<string, Sent>();
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    development: false,
    reusePort: false,
    async fetch(request) {
      const { pathname } = new URL(request.url);
      if (pathname === "/v1/models") return Response.json({ object: "list", data: [{ id: "numbers" }] });
      if (pathname !== "/v1/chat/completions") return new Response("no", { status: 404 });
      const { user, stream } = (await request.json()) as { user: string; stream?: boolean };
      if (stream === false) return Response.json(SHORT);
      let ended = false;
      const sent: Sent = { text: "", finish: () => (ended = true) };
      streams.set(user, sent);
      async function* events() {
        for (let number = 0; ; number++) {
          const data = ended ? "[DONE]" : JSON.stringify({ user, number, fill: FILL.slice(number % 300) });
          const event = `data: ${data}\n\n`;
          sent.text += event;
          yield event;
          if (data === "[DONE]") return;
          await Bun.sleep(EVENT_MS);
        }
      }
      return new Response(events(), { headers: { "content-type": "text/event-stream" } });
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    get streams() {
      return streams.size;
    },
    finish() {
      for (const stream of streams.values()) stream.finish();
    },
    sent: (user) => streams.get(user)?.text ?? "",
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}
