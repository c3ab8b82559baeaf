import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { CHAT, PLAIN_STREAM } from "../contract/promise.ts";
import { MODEL, startBackend, type Backend } from "../tls-proxies/rig.ts";
import { startSecureRelay, type SecureRelay } from "./rig.ts";

let backend: Backend;
let relay: SecureRelay;

const start = (): Promise<SecureRelay> => startSecureRelay({ args: ["--http3"], backendUrl: backend.url });
beforeAll(async () => {
  backend = startBackend();
  relay = await start();
});
afterAll(async () => {
  await relay[Symbol.asyncDispose]();
  await backend[Symbol.asyncDispose]();
});

const PROTOCOLS = { "HTTP/1.1": "http1.1", "HTTP/2": "http2", "HTTP/3": "http3" } as const;

/** @param to bytes of the whole body */
function body(to = 0): string {
  const text = (content: string) =>
    JSON.stringify({ ...PLAIN_STREAM, model: MODEL, messages: [{ content }] });
  return text("x".repeat(Math.max(0, to - text("").length)));
}

for (const [name, protocol] of Object.entries(PROTOCOLS)) {
  /** Over HTTP/3, Bun's client takes no certificates from a request's options. */
  const unchecked = protocol === "http3" ? { tls: { rejectUnauthorized: false } } : {};
  const post = (given = body(), init: BunFetchRequestInit = {}, to = relay) =>
    to.fetch(CHAT, {
      method: "POST",
      protocol,
      ...unchecked,
      headers: { "content-type": "application/json" },
      body: given,
      ...init,
    });

  describe(`Over ${name}, the executable`, () => {
    test("hands on a stream as it comes, every byte of it", async () => {
      const asked = post();
      const stream = (await backend.calls.next()).stream();
      // The head of an answer is on its way by the first event at the latest.
      stream.write("begin");
      const response = await asked;
      expect(response.headers.get("content-type")).toStartWith("text/event-stream");
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      let sent = "data: begin\n\n";
      let got = "";
      for (let event = 0; event < 50; event += 1) {
        // The next event is sent once this one has come: nothing may wait for more.
        while (got.length < sent.length) got += (await reader.read()).value ?? expect.unreachable();
        const data = Buffer.from(crypto.getRandomValues(new Uint8Array(event * 97))).toString("base64");
        stream.write(`ü${data}`);
        sent += `data: ü${data}\n\n`;
      }
      stream.end();
      for (let more = await reader.read(); !more.done; more = await reader.read()) got += more.value;
      expect(got).toBe(sent);
    });

    test("gives up the backend's work when the client leaves, before the answer and within", async () => {
      for (const within of [false, true]) {
        const leave = new AbortController();
        const asked = post(body(), { signal: leave.signal });
        const call = await backend.calls.next();
        if (within) {
          call.stream().write("begin");
          await (await asked).body!.getReader().read();
        }
        leave.abort();
        await asked.catch(() => {});
        await call.gone;
      }
      await relay.idle();
    });

    test("takes a body of 64 MiB and is given every byte of it", async () => {
      const sent = body(64 * 1024 * 1024);
      const asked = post(sent);
      const call = await backend.calls.next();
      expect(call.body.length).toBe(sent.length);
      expect(Bun.hash(call.body)).toBe(Bun.hash(sent));
      call.answer(Response.json({ done: true }));
      expect(await (await asked).json()).toEqual({ done: true });
    });

    test("carries 100 streams at once, each its own", async () => {
      const asked = Array.from({ length: 100 }, async () => {
        const response = await post();
        return response.text();
      });
      const sent = [];
      for (let n = 0; n < asked.length; n += 1) {
        const stream = (await backend.calls.next()).stream();
        const events = [`a ${n}`, `b ${n}`, `c ${n}`];
        for (const event of events) stream.write(event);
        sent.push({ stream, text: events.map((event) => `data: ${event}\n\n`).join("") });
      }
      // All are open by now; the last is ended first.
      for (const { stream } of sent.toReversed()) stream.end();
      expect((await Promise.all(asked)).sort()).toEqual(sent.map(({ text }) => text).sort());
    });

    test("finishes what runs when it is told to end, and takes nothing more", async () => {
      await using other = await start();
      const asked = post(body(), {}, other);
      const stream = (await backend.calls.next()).stream();
      stream.write("begin");
      const response = await asked;
      other.serve.kill("SIGTERM");
      await other.serve.until(/Finishing what runs/);
      // Over UDP nobody refuses: a client would wait for as long as it waits for a handshake.
      const signal = AbortSignal.timeout(500);
      const late = await post(body(), { keepalive: false, signal }, other).then(
        (answer) => answer.status,
        () => "refused",
      );
      expect(["refused", 503]).toContain(late);
      stream.write("end");
      stream.end();
      expect(await response.text()).toBe("data: begin\n\ndata: end\n\n");
      expect(await other.serve.exited).toBe(0);
    });
  });
}

test("A client of HTTP/2 is told by GOAWAY to leave, and its streams are finished", async () => {
  await using other = await start();
  const session = connectHttp2(other.url, { ca: other.caPem });
  const goAway = once(session, "goaway") as Promise<[code: number, last: number]>;
  const stream = session.request({ ":method": "POST", ":path": CHAT, "content-type": "application/json" });
  stream.setEncoding("utf8").end(body());
  let got = "";
  stream.on("data", (text: string) => (got += text));
  const events = (await backend.calls.next()).stream();
  events.write("begin");
  await once(stream, "data");
  other.serve.kill("SIGTERM");
  const [code, last] = await goAway;
  expect({ code, last }).toEqual({ code: 0, last: 1 });
  events.write("end");
  events.end();
  await once(stream, "close");
  expect(got).toBe("data: begin\n\ndata: end\n\n");
  expect(await other.serve.exited).toBe(0);
});
