import * as anthropicSdk from "@anthropic-ai/sdk";
import { describe, expect, test } from "bun:test";
import * as openaiSdk from "openai";
import type { RawWorker } from "../../support/raw-worker.ts";
import { CHAT, HI, startLimited, type Limited } from "./limited-relay.ts";

/** Tokens per minute. */
const LIMIT = 15_000;

const messages = [{ role: "user" as const, content: "hi" }];

interface Sdk {
  name: string;
  RateLimitError: typeof openaiSdk.RateLimitError | typeof anthropicSdk.RateLimitError;
  /** Sends one request that may have an answer of so many tokens. */
  ask: (
    url: string,
    longest: number,
    options: { maxRetries: number; fetch: typeof fetch },
  ) => Promise<unknown>;
  /** What the backend answers. */
  answer: object;
}

const SDKS: readonly Sdk[] = [
  {
    name: "OpenAI's SDK",
    RateLimitError: openaiSdk.RateLimitError,
    async ask(url, longest, options) {
      const client = new openaiSdk.OpenAI({ baseURL: `${url}/v1`, apiKey: "none", ...options });
      const said = await client.chat.completions.create({ model: "m", messages, max_tokens: longest });
      return said.choices[0]?.message.content;
    },
    answer: {
      choices: [{ index: 0, message: { role: "assistant", content: "well" }, finish_reason: "stop" }],
    },
  },
  {
    name: "Anthropic's SDK",
    RateLimitError: anthropicSdk.RateLimitError,
    async ask(url, longest, options) {
      const client = new anthropicSdk.Anthropic({ baseURL: url, apiKey: "none", ...options });
      const said = await client.messages.create({ model: "m", messages, max_tokens: longest });
      const [block] = said.content;
      return block?.type === "text" ? block.text : undefined;
    },
    answer: { type: "message", role: "assistant", content: [{ type: "text", text: "well" }] },
  },
];

/** What of one try a test looks at. */
interface Try {
  status: number;
  sentAt: number;
  answeredAt: number;
  headers: Headers;
}

/** A `fetch` that remembers. */
function noting(tries: Try[]): typeof fetch {
  const noted = async (...args: Parameters<typeof fetch>): Promise<Response> => {
    const sentAt = performance.now();
    const { headers, status } = await fetch(...args).then((response) => (answer = response));
    tries.push({ status, sentAt, answeredAt: performance.now(), headers });
    return answer;
  };
  let answer: Response;
  return Object.assign(noted, { preconnect: fetch.preconnect });
}

/** A token comes back every 4 ms; all but `left` are held by a request that runs. */
async function startFull(left: number): Promise<Limited & { other: RawWorker }> {
  const limited = startLimited({ relay: { tokensPerMinute: LIMIT } });
  const holder = await limited.worker();
  const prompt = Math.ceil(JSON.stringify({ ...HI, max_tokens: LIMIT }).length / 4);
  void limited.post(CHAT, { ...HI, max_tokens: LIMIT - prompt - left }).catch(() => {});
  await holder.next("request");
  return Object.assign(limited, { other: await limited.worker() });
}

describe("A limit is understood by", () => {
  for (const { name, RateLimitError, ask, answer } of SDKS) {
    test(`${name}, which throws its own error for it`, async () => {
      await using limited = await startFull(100);
      const tries: Try[] = [];
      const error: unknown = await ask(limited.relay.url, 2_000, {
        maxRetries: 0,
        fetch: noting(tries),
      }).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(RateLimitError);
      expect(error).toMatchObject({ status: 429 });
      expect(String(error)).toContain("This relay may use 15000 tokens per minute");
      expect(tries.length).toBe(1);
    });

    test(`${name}, which tries again when it may, and not before`, async () => {
      await using limited = await startFull(100);
      const tries: Try[] = [];
      const said = ask(limited.relay.url, 600, { maxRetries: 1, fetch: noting(tries) });
      limited.other.complete(await limited.other.next("request"), 200, JSON.stringify(answer));
      expect(await said).toBe("well");
      expect(tries.map(({ status }) => status)).toEqual([429, 200]);
      const [refused, retried] = tries;
      const waitMs = Number(refused!.headers.get("retry-after-ms"));
      expect(waitMs).toBeWithin(600, 2_200);
      // The SDKs' own first pause is half a second at most.
      expect(retried!.sentAt - refused!.answeredAt).toBeWithin(waitMs - 2, waitMs + 1_000);
    });

    test(`${name}, which gives up at once where waiting does not help`, async () => {
      await using limited = await startFull(100);
      const tries: Try[] = [];
      const error: unknown = await ask(limited.relay.url, 20_000, {
        maxRetries: 5,
        fetch: noting(tries),
      }).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(RateLimitError);
      expect(tries.length).toBe(1);
    });
  }
});
