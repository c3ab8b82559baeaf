import { describe, expect, test } from "bun:test";
import { startRig, type Rig, type RigOptions } from "./rig.ts";

const V2: RigOptions = { worker: { linkVersion: "auto", maxConcurrency: 8 } };

function chat(rig: Rig, body: Record<string, unknown> = { stream: true }): Promise<Response> {
  return fetch(`${rig.clientProxy.url}/v1/chat/completions`, {
    method: "POST",
    body: JSON.stringify({ model: "m", messages: [], ...body }),
  });
}

const EVENT_STREAM = { "content-type": "text/event-stream" };

/** Reads until as much has come. */
async function read(
  reader: Pick<ReadableStreamDefaultReader<Uint8Array>, "read">,
  length: number,
): Promise<string> {
  let text = "";
  while (text.length < length) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`The body ended after ${JSON.stringify(text)}`);
    text += Buffer.from(value).toString();
  }
  return text;
}

describe("A link of two of our own ends that is cut", () => {
  for (const kind of ["reset", "close"] as const) {
    test(`goes on with every stream, byte by byte, after a ${kind}`, async () => {
      await using rig = await startRig(V2);
      const answer = chat(rig);
      const backend = await rig.backend.next();
      backend.head(200, EVENT_STREAM);
      backend.write("data: 1\n\n");
      const response = await answer;
      const reader = response.body!.getReader();
      let text = await read(reader, 9);
      for (let cut = 2; cut <= 6; cut++) {
        rig.linkProxy.cut(kind);
        backend.write(`data: ${cut}\n\n`);
        text += await read(reader, 9);
      }
      backend.end();
      expect((await reader.read()).done).toBe(true);
      expect(text).toBe([1, 2, 3, 4, 5, 6].map((n) => `data: ${n}\n\n`).join(""));
      expect(
        rig.events.items.filter(({ kind: event }) => event === "registered" || event === "disconnected"),
      ).toEqual([]);
    });
  }

  test("runs a request once that was on its way when it was cut", async () => {
    await using rig = await startRig(V2);
    rig.linkProxy.cut("reset");
    const answer = chat(rig, {});
    const backend = await rig.backend.next();
    rig.linkProxy.cut("reset");
    backend.answer(200, { fine: true });
    expect(await (await answer).json()).toEqual({ fine: true });
    expect(rig.backend.exchanges.items).toEqual([]);
  });

  test("is given up when the grace period ends, and the loss rule applies", async () => {
    await using rig = await startRig({ ...V2, relay: { linkGraceMs: 200 } });
    const answer = chat(rig);
    const backend = await rig.backend.next();
    backend.head(200, EVENT_STREAM);
    backend.write("data: 1\n\n");
    const response = await answer;
    const reader = response.body!.getReader();
    await read(reader, 9);
    rig.linkProxy.accepting = false;
    rig.linkProxy.cut("reset");
    const rest = await read(reader, 1);
    expect(rest).toContain("error");
    expect((await reader.read()).done).toBe(true);
    rig.linkProxy.accepting = true;
    await rig.registered();
  });

  test("says in the status that it is suspended, and takes nothing new until it is back", async () => {
    await using rig = await startRig(V2);
    rig.linkProxy.accepting = false;
    rig.linkProxy.cut("reset");
    type Health = { workers: { is_suspended: boolean }[]; queue_depth: number };
    await rig.health<Health>(({ workers }) => workers[0]?.is_suspended === true);
    const answer = chat(rig, {});
    await rig.health<Health>(({ queue_depth }) => queue_depth === 1);
    rig.linkProxy.accepting = true;
    (await rig.backend.next()).answer(200, { late: true });
    expect(await (await answer).json()).toEqual({ late: true });
  });

  test("tells the backend that a client left while it was cut", async () => {
    await using rig = await startRig(V2);
    const abort = new AbortController();
    const answer = fetch(`${rig.clientProxy.url}/v1/chat/completions`, {
      method: "POST",
      body: JSON.stringify({ model: "m", messages: [], stream: true }),
      signal: abort.signal,
    });
    const backend = await rig.backend.next();
    backend.head(200, EVENT_STREAM);
    backend.write("data: 1\n\n");
    await answer;
    rig.linkProxy.cut("reset");
    abort.abort();
    await backend.closed;
  });
});
