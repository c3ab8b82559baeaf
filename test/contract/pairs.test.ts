import { connect, createServer, type AddressInfo } from "node:net";
import { describe, expect, test } from "bun:test";
import { eventsOf } from "../faults/content.ts";
import { startBinaryFleet, type FleetOptions } from "../scale/fleet.ts";
import { startFakeBackend } from "../support/fake-backend.ts";
import { CHAT } from "./promise.ts";

/** A relay that has never heard of subprotocols: what a worker offers does not reach it. */
async function startOlderFront(relayUrl: string): Promise<AsyncDisposable & { url: string }> {
  const target = Number(new URL(relayUrl).port);
  const server = createServer((client) => {
    const onward = connect(target, "127.0.0.1");
    client.once("data", (head) => {
      const lines = (head as Buffer).toString("latin1").split("\r\n");
      const kept = lines.filter((line) => !line.toLowerCase().startsWith("sec-websocket-protocol:"));
      onward.write(kept.join("\r\n"), "latin1");
      client.pipe(onward);
    });
    onward.pipe(client);
    for (const side of [client, onward]) {
      side.on("error", () => {});
      side.on("close", () => [client, onward].forEach((socket) => socket.destroy()));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.close();
    },
  };
}

const ANY_BYTES = Uint8Array.from({ length: 300_000 }, (_, index) => (index * 7 + (index >> 8)) & 0xff);

const PAIRS: { title: string; flags: string[]; older?: true; speaks: "v1" | "v2" }[] = [
  { title: "a worker of any version and a relay", flags: [], speaks: "v2" },
  { title: "a worker that compresses and a relay", flags: ["--compress"], speaks: "v2" },
  { title: "a worker of version 1 and a relay", flags: ["--link-version=v1"], speaks: "v1" },
  { title: "a worker of any version and a relay of version 1", flags: [], older: true, speaks: "v1" },
  {
    title: "a worker that compresses and a relay of version 1",
    flags: ["--compress"],
    older: true,
    speaks: "v1",
  },
];

describe("Two executables", () => {
  for (const { title, flags, older, speaks } of PAIRS) {
    test(`speak ${speaks}: ${title}`, async () => {
      await using stack = new AsyncDisposableStack();
      const backend = stack.use(await startFakeBackend(["m"]));
      const options: FleetOptions = { worker: ["--max-concurrency=4", ...flags] };
      if (older === true)
        options.linkUrl = async (relayUrl) => stack.use(await startOlderFront(relayUrl)).url;
      const fleet = stack.use(await startBinaryFleet(backend.url, options));
      const post = (body: Record<string, unknown>) =>
        fetch(fleet.url + CHAT, { method: "POST", body: JSON.stringify({ model: "m", ...body }) });

      const pad = "the same again é😀 ".repeat(20_000);
      const whole = post({ pad });
      const asked = await backend.next();
      expect((asked.json() as { pad: string }).pad).toBe(pad);
      asked.answer(201, { pad });
      const answer = await whole;
      expect([answer.status, ((await answer.json()) as { pad: string }).pad === pad]).toEqual([201, true]);

      const events = eventsOf(1, 200);
      const streamed = post({ stream: true });
      const streaming = await backend.next();
      streaming.head(200, { "content-type": "text/event-stream" });
      for (const event of events) streaming.write(event);
      streaming.end();
      expect(await (await streamed).text()).toBe(events.join(""));

      const refused = post({ stream: true });
      (await backend.next()).answer(429, { error: { message: "slow down" } }, { "retry-after": "7" });
      const refusal = await refused;
      expect([refusal.status, refusal.headers.get("retry-after")]).toEqual([429, "7"]);
      await refusal.text();

      // Only version 2 carries what is no text, and version 1 says so.
      const spoken = fetch(`${fleet.url}/v1/audio/speech`, {
        method: "POST",
        body: JSON.stringify({ model: "m", input: "hi" }),
      });
      const speech = await backend.next();
      speech.head(200, { "content-type": "audio/wav", "content-length": String(ANY_BYTES.length) });
      speech.write(ANY_BYTES);
      speech.end();
      const audio = await spoken;
      if (speaks === "v1") {
        expect(audio.status).toBe(502);
        expect(await audio.text()).toContain("worker_link_text_only");
      } else {
        expect(audio.status).toBe(200);
        expect(Buffer.compare(new Uint8Array(await audio.arrayBuffer()), ANY_BYTES)).toBe(0);
      }
    }, 30_000);
  }
});
