import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { runProgram } from "../e2e/program.ts";
import { binaryPath } from "../support/binary.ts";
import { lacksPart } from "../support/parts.ts";
import { openHttp2 } from "./http2-client.ts";
import { MODEL, PROXY_KINDS, startProxied, type ProxiedRelay } from "./rig.ts";

const CHAT = "/v1/chat/completions";
const MESSAGES = [{ role: "user" as const, content: "hello" }];
const MIB = 1024 * 1024;

function chunk(content: string): string {
  const choices = [{ index: 0, delta: { content }, finish_reason: null }];
  return JSON.stringify({ id: "1", object: "chat.completion.chunk", created: 1, model: MODEL, choices });
}

function hash(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A client with a streaming request that it can take back. */
interface Leaver extends AsyncDisposable {
  /** Waits until the answer so far holds `text`. */
  got(text: string): Promise<void>;
  go(): void;
}

const LEAVERS: Record<string, (rig: ProxiedRelay) => Leaver> = {
  "HTTP/1.1": (rig) => {
    const abort = new AbortController();
    const answer = rig.fetch(CHAT, {
      method: "POST",
      body: JSON.stringify({ model: MODEL, messages: MESSAGES, stream: true }),
      signal: abort.signal,
    });
    answer.catch(() => {});
    return {
      async got(wanted) {
        let text = "";
        const reader = (await answer).body!.getReader();
        while (!text.includes(wanted)) text += new TextDecoder().decode((await reader.read()).value);
        reader.releaseLock();
      },
      go: () => abort.abort(),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  },
  "HTTP/2": (rig) => {
    const client = openHttp2(rig.proxy.url, rig.authority);
    const answer = client.post(CHAT, { model: MODEL, messages: MESSAGES, stream: true });
    return {
      got: (text) => answer.until(text),
      go: () => answer.cancel(),
      [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
    };
  },
};

for (const kind of PROXY_KINDS) {
  describe.skipIf(lacksPart(kind.name))(`${kind.name} with the file in examples/`, () => {
    let rig: ProxiedRelay;
    beforeAll(async () => {
      rig = await startProxied(kind);
    });
    afterAll(() => rig[Symbol.asyncDispose]());

    // The backend writes a token only when the client has the one before it: whoever holds one back
    // stops this for good.
    test("lets each token through to the SDK before the next one is written", async () => {
      const answer = rig.openai.chat.completions.create({ model: MODEL, messages: MESSAGES, stream: true });
      const call = await rig.backend.calls.next();
      const stream = call.stream();
      stream.write(chunk("0"));
      let got = 0;
      for await (const part of await answer) {
        expect(part.choices[0]?.delta.content).toBe(String(got));
        got++;
        stream.write(got < 20 ? chunk(String(got)) : "[DONE]");
        if (got === 20) stream.end();
      }
      expect(got).toBe(20);
    });

    test("lets each token through over HTTP/2 too", async () => {
      await using client = openHttp2(rig.proxy.url, rig.authority);
      const answer = client.post(CHAT, { model: MODEL, messages: MESSAGES, stream: true });
      const stream = (await rig.backend.calls.next()).stream();
      for (let n = 0; n < 20; n++) {
        stream.write(chunk(`token ${n};`));
        await answer.until(`token ${n};`);
      }
      expect(await answer.status).toBe(200);
      stream.end();
    });

    test("lets each line of Ollama's streams through", async () => {
      const answer = rig.fetch("/api/chat", {
        method: "POST",
        body: JSON.stringify({ model: MODEL, messages: MESSAGES }),
      });
      const call = await rig.backend.calls.next();
      expect(call.path).toBe("/api/chat");
      let next = Promise.withResolvers<void>();
      call.answer(
        new Response(
          async function* () {
            for (let n = 0; n < 5; n++) {
              yield `{"n":${n}}\n`;
              await next.promise;
            }
          },
          { headers: { "content-type": "application/x-ndjson" } },
        ),
      );
      const lines: string[] = [];
      for await (const bytes of (await answer).body!) {
        lines.push(new TextDecoder().decode(bytes));
        next.resolve();
        next = Promise.withResolvers();
      }
      expect(lines).toEqual([0, 1, 2, 3, 4].map((n) => `{"n":${n}}\n`));
    });

    test("carries a body of 64 MiB", async () => {
      const body = Buffer.from(JSON.stringify({ model: MODEL, input: "x".repeat(64 * MIB) }));
      const answer = rig.fetch("/v1/embeddings", { method: "POST", body });
      const call = await rig.backend.calls.next();
      expect([call.body.length, hash(call.body)]).toEqual([body.length, hash(body)]);
      call.answer(Response.json({ got: call.body.length }));
      expect(await (await answer).json()).toEqual({ got: body.length });
    });

    test("leaves the refusal of a body over the limit to the relay", async () => {
      const body = Buffer.alloc(129 * MIB, "x");
      const answer = await rig.fetch("/v1/embeddings", { method: "POST", body });
      expect([answer.status, await answer.json()]).toMatchObject([
        413,
        { error: { code: "request_too_large" } },
      ]);
    });

    test("has nothing that tls check finds wrong", async () => {
      const [tls, plain] = rig.proxy.ports;
      const done = await runProgram([
        binaryPath(),
        "tls",
        "check",
        "localhost",
        "--connect=127.0.0.1",
        `--https-port=${tls}`,
        `--http-port=${plain}`,
        `--ca-file=${rig.authority.caFile}`,
        "--wait=1s",
        "--json",
      ]);
      const { checks } = JSON.parse(done.stdout) as { checks: { step: string; ok: boolean | null }[] };
      expect(checks.filter(({ ok }) => ok === false)).toEqual([]);
      expect(checks.filter(({ ok }) => ok).map(({ step }) => step)).toEqual([
        "port 80",
        "port 443",
        "chain trusted",
        "name matches",
        "days left",
        "protocols",
        "models over https",
        "worker link",
        "stream unbuffered",
        "idle link kept",
      ]);
      expect(done.code).toBe(0);
    });

    for (const [version, leave] of Object.entries(LEAVERS)) {
      test(`tells the backend when a client over ${version} leaves before the first byte`, async () => {
        await using client = leave(rig);
        const call = await rig.backend.calls.next();
        client.go();
        await call.gone;
      });

      test(`tells the backend when a client over ${version} leaves in the middle of a stream`, async () => {
        await using client = leave(rig);
        const call = await rig.backend.calls.next();
        call.stream().write(chunk("first"));
        await client.got("first");
        client.go();
        await call.gone;
      });
    }
  });
}
