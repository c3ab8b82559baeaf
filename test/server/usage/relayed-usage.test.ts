import { describe, expect, test } from "bun:test";
import type { RequestRecord } from "../../../src/server/request-record.ts";
import type { Usage } from "../../../src/server/usage/index.ts";
import { startRig, type Rig, type RigOptions } from "../../faults/rig.ts";
import { Inbox } from "../../support/inbox.ts";
import { CHAT, CHAT_NULLS, EXTRA, seeded, split, STREAMS, WHOLE, type Recorded } from "./recorded.ts";
import { textOf } from "./rows.ts";

interface UsageRig extends Rig {
  records: Inbox<RequestRecord>;
  ask(path: string, body: object, signal?: AbortSignal): Promise<Response>;
}

/** A rig that tells of each request that has ended. */
async function usageRig(options: RigOptions = {}): Promise<UsageRig> {
  const records = new Inbox<RequestRecord>();
  const usage: Usage = {
    ended: (record) => records.put(record),
    routes: [],
    backlog: () => ({ bytes: 0, lost: 0 }),
    warnings: () => [],
    async close() {},
  };
  const rig = await startRig({ usage, ...options });
  const ask = (path: string, body: object, signal?: AbortSignal): Promise<Response> =>
    fetch(`http://127.0.0.1:${rig.port}${path}`, {
      method: "POST",
      body: JSON.stringify(body),
      keepalive: false,
      ...(signal && { signal }),
    });
  return { ...rig, records, ask };
}

const ASKS = '"stream_options":{"include_usage":true}';
const chat = { model: "m", stream: true, messages: [{ role: "user", content: "hello" }] };
const withoutExtra = CHAT.parts.filter((part) => part !== EXTRA).join("");
const tokensOf = ({ tokens }: RequestRecord) => tokens;
const reported = { prompt: 20, completion: 7, cached: 16, estimated: false };

function pathOf({ name }: Recorded): string {
  if (name.includes("messages")) return "/v1/messages";
  if (name.includes("responses")) return "/v1/responses";
  if (name.includes("Ollama")) return "/api/chat";
  return name.includes("embeddings") ? "/v1/embeddings" : "/v1/chat/completions";
}

describe("Usage through a relay", () => {
  for (const linkVersion of ["v1", "auto"] as const) {
    for (const recorded of [...STREAMS, ...WHOLE]) {
      const { name, contentType, parts, report } = recorded;
      test(`is found, and the client gets every byte, ${linkVersion}: ${name}`, async () => {
        await using rig = await usageRig({ worker: { linkVersion } });
        const asksItself = { ...chat, stream_options: { include_usage: true } };
        const text = parts.join("");
        const answering = rig.ask(pathOf(recorded), asksItself);
        const exchange = await rig.backend.next();
        exchange.head(200, { "content-type": contentType });
        const random = seeded(text.length);
        const longest = text.length > 50_000 ? 40_000 : 150;
        for (const part of split(text, random, longest)) {
          exchange.write(part);
          await exchange.flushed();
        }
        exchange.end();
        const answer = await (await answering).text();
        expect(answer === text).toBe(true);
        const record = await rig.records.next();
        expect({ model: record.servedModel, bytes: record.bytesOut }).toEqual({
          model: report.model,
          bytes: Buffer.byteLength(text),
        });
        if (report.prompt === undefined) return expect(tokensOf(record)?.estimated).toBe(true);
        expect(tokensOf(record)).toEqual({
          prompt: report.prompt,
          completion: report.completion!,
          cached: report.cached ?? 0,
          estimated: false,
        });
      });
    }

    test(`is asked for, and the client that did not ask gets none of it, ${linkVersion}`, async () => {
      await using rig = await usageRig({ worker: { linkVersion } });
      for (const recorded of [CHAT, CHAT_NULLS]) {
        for (const longest of [1_000_000, 60, 3]) {
          const answering = rig.ask("/v1/chat/completions", chat);
          const exchange = await rig.backend.next();
          expect(exchange.body.toString()).toBe(`{${ASKS},${JSON.stringify(chat).slice(1)}`);
          exchange.head(200, { "content-type": "text/event-stream" });
          for (const part of split(recorded.parts.join(""), seeded(longest), longest)) exchange.write(part);
          exchange.end();
          const wanted = recorded.parts.filter((part) => part !== EXTRA).join("");
          expect(await (await answering).text()).toBe(wanted);
          const record = await rig.records.next();
          expect([tokensOf(record), record.servedModel, record.bytesOut]).toEqual([
            reported,
            "tiny-q4",
            Buffer.byteLength(wanted),
          ]);
        }
      }
    });

    test(`is asked for without if the backend refuses that, and not again, ${linkVersion}`, async () => {
      await using rig = await usageRig({ worker: { linkVersion } });
      const answering = rig.ask("/v1/chat/completions", chat);
      const first = await rig.backend.next();
      expect(first.body.toString()).toContain(ASKS);
      first.answer(400, { error: { message: "Unknown field: stream_options" } });
      const second = await rig.backend.next();
      expect(second.body.toString()).toBe(JSON.stringify(chat));
      second.head(200, { "content-type": "text/event-stream" });
      second.write(withoutExtra);
      second.end();
      const answer = await answering;
      expect([answer.status, await answer.text()]).toEqual([200, withoutExtra]);
      const record = await rig.records.next();
      expect([record.status, record.outcome, tokensOf(record)?.estimated]).toEqual([200, "complete", true]);
      expect(rig.relay.relay.budget.held).toBe(0);

      const later = rig.ask("/v1/chat/completions", chat);
      const third = await rig.backend.next();
      expect(third.body.toString()).toBe(JSON.stringify(chat));
      third.head(200, { "content-type": "text/event-stream" });
      third.end();
      await (await later).text();
    });

    test(`leaves a refusal that has another reason as it is, ${linkVersion}`, async () => {
      await using rig = await usageRig({ worker: { linkVersion } });
      for (const status of [400, 422]) {
        const answering = rig.ask("/v1/chat/completions", chat);
        for (let tries = 0; tries < 2; tries++) {
          const exchange = await rig.backend.next();
          expect(exchange.body.toString().includes(ASKS)).toBe(tries === 0);
          exchange.answer(status, { error: { message: `too long, try ${tries}` } });
        }
        const answer = await answering;
        expect([answer.status, await answer.json()]).toEqual([
          status,
          { error: { message: "too long, try 1" } },
        ]);
        const record = await rig.records.next();
        expect([record.status, record.tokens]).toEqual([status, undefined]);
      }
    });
  }

  test("may be refused by a worker that is lost then: the request goes on as one without a byte of answer", async () => {
    await using rig = await usageRig();
    const answering = rig.ask("/v1/chat/completions", chat);
    (await rig.backend.next()).answer(400, { error: { message: "no such field" } });
    await rig.backend.next();
    rig.linkProxy.cut("reset");
    const third = await rig.backend.next();
    expect(third.body.toString()).toBe(JSON.stringify(chat));
    third.head(200, { "content-type": "text/event-stream" });
    third.write(withoutExtra);
    third.end();
    const answer = await answering;
    expect([answer.status, await answer.text()]).toEqual([200, withoutExtra]);
    expect((await rig.records.next()).outcome).toBe("complete");
  });

  test("is estimated where a stream reports none, with a token for each event", async () => {
    await using rig = await usageRig();
    const events = Array.from(
      { length: 50 },
      (_, n) =>
        `data: ${JSON.stringify({ model: "x", choices: [{ delta: { content: `w${10 + (n % 80)}` } }] })}\n\n`,
    );
    const answering = rig.ask("/v1/chat/completions", chat);
    const exchange = await rig.backend.next();
    exchange.head(200, { "content-type": "text/event-stream" });
    for (const event of events) exchange.write(event);
    exchange.end();
    expect(await (await answering).text()).toBe(events.join(""));
    const record = await rig.records.next();
    expect(record.tokens).toMatchObject({
      prompt: Math.ceil(JSON.stringify(chat).length / 4),
      cached: 0,
      estimated: true,
    });
    expect(Math.abs(record.tokens!.completion - 50)).toBeLessThanOrEqual(2);
  });

  test("of a stream that its client leaves is what was made of it", async () => {
    await using rig = await usageRig();
    const leaving = new AbortController();
    const answering = rig.ask("/v1/messages", chat, leaving.signal);
    const exchange = await rig.backend.next();
    exchange.head(200, { "content-type": "text/event-stream" });
    const [anthropic] = STREAMS.filter(({ name }) => name.includes("Anthropic"));
    for (const part of anthropic!.parts.slice(0, -2)) exchange.write(part);
    const reader = (await answering).body!.getReader();
    let read = "";
    while (!read.includes("content_block_stop")) read += textOf(await reader.read());
    leaving.abort();
    const record = await rig.records.next();
    expect([record.outcome, record.servedModel]).toEqual(["cancelled", "claude-local"]);
    expect(record.tokens).toMatchObject({ prompt: 47, cached: 30, estimated: true });
    expect(record.tokens!.completion).toBeGreaterThan(1);
    expect(record.tokens!.completion).toBeLessThan(20);
  });

  test("is nothing for a request that no backend has answered", async () => {
    await using rig = await usageRig();
    const refused = await rig.ask("/v1/chat/completions", { ...chat, model: "another" });
    expect(refused.status).toBe(404);
    const record = await rig.records.next();
    expect([record.outcome, record.reason, record.tokens]).toEqual(["refused", "model_not_found", undefined]);
  });

  test("keeps nothing back from a client whose stream breaks off", async () => {
    await using rig = await usageRig();
    const answering = rig.ask("/v1/chat/completions", chat);
    const exchange = await rig.backend.next();
    exchange.head(200, { "content-type": "text/event-stream" });
    const begun = CHAT.parts.slice(0, 4).join("") + EXTRA.slice(0, 70);
    exchange.write(begun);
    await exchange.flushed();
    exchange.reset();
    const text = await (await answering).text();
    expect(text.slice(0, begun.length)).toBe(begun);
    expect(text.slice(begun.length)).toContain('"error"');
  });

  test("makes room on the link for what is taken out", async () => {
    await using rig = await usageRig({ worker: { linkVersion: "auto" } });
    const answering = rig.ask("/v1/chat/completions", chat);
    const exchange = await rig.backend.next();
    exchange.head(200, { "content-type": "text/event-stream" });
    const times = Math.ceil((3 * rig.relay.relay.config.linkWindow) / EXTRA.length);
    for (let n = 0; n < times; n++) exchange.write(EXTRA);
    exchange.write("data: [DONE]\n\n");
    exchange.end();
    expect(await (await answering).text()).toBe("data: [DONE]\n\n");
  });

  test("does not disturb a keep-alive before the backend refuses to be asked", async () => {
    await using rig = await usageRig({ relay: { sseKeepaliveMs: 20 } });
    const answering = rig.ask("/v1/chat/completions", chat);
    const first = await rig.backend.next();
    const answer = await answering;
    const reader = answer.body!.getReader();
    expect(textOf(await reader.read())).toStartWith(": ping\n");
    first.answer(400, { error: { message: "no such field" } });
    const second = await rig.backend.next();
    second.head(200, { "content-type": "text/event-stream" });
    second.write(CHAT.parts[0]!);
    second.end();
    let rest = "";
    for (let part = await reader.read(); !part.done; part = await reader.read())
      rest += Buffer.from(part.value).toString();
    expect(rest.replaceAll(": ping\n", "")).toBe(CHAT.parts[0]!);
  });
});
