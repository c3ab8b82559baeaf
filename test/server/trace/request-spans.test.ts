import { describe, expect, test } from "bun:test";
import { RequestRecord } from "../../../src/server/request-record.ts";
import { spansOf } from "../../../src/server/trace/request-spans.ts";
import type { RequestTrace } from "../../../src/server/trace/request-trace.ts";
import { routeOf } from "../../../src/server/trace/route.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const TRACE: RequestTrace = {
  traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
  parent: undefined,
  state: "",
  sampled: true,
  spanId: "aaaaaaaaaaaaaaaa",
  workerSpanId: "bbbbbbbbbbbbbbbb",
  scheme: "https",
};

/** Wall time of the request's arrival. */
const AT = 1_800_000_001_000;

/** A request that has run as `happens` says; 250 ms pass between its stages. */
function recorded(
  happens: (record: RequestRecord, later: () => number) => void,
  path = "/v1/chat/completions",
) {
  const clock = new ManualClock();
  const record = new RequestRecord({ id: "own", clientId: "mine", method: "POST", path }, clock, () => {});
  happens(record, () => {
    clock.advance(250);
    return clock.now();
  });
  clock.advance(250);
  record.end();
  return record;
}

function served(record: RequestRecord, later: () => number): void {
  record.queuedAt = later();
  record.dispatchedAt = later();
  record.firstByteAt = later();
  Object.assign(record, {
    model: "m",
    streaming: true,
    worker: "gpu",
    status: 200,
    bytesIn: 7,
    bytesOut: 9,
    servedModel: "m-q4",
    tokens: { prompt: 30, completion: 20, cached: 10, estimated: false },
  });
}

const names = (record: RequestRecord) => spansOf(record, TRACE).map(({ name }) => name);

describe("Spans of a request", () => {
  test("are the whole, the wait, the work and its first byte, one below the other", () => {
    const spans = spansOf(recorded(served), TRACE);
    expect(
      spans.map(({ name, kind, startedAt, endedAt }) => [name, kind, startedAt - AT, endedAt - AT]),
    ).toEqual([
      ["POST /v1/chat/completions", 2, 0, 1_000],
      ["queue", 1, 250, 500],
      ["chat m", 3, 500, 1_000],
      ["first byte", 1, 500, 750],
    ]);
    expect(spans.map(({ spanId, parentSpanId }) => [spanId, parentSpanId])).toEqual([
      ["aaaaaaaaaaaaaaaa", undefined],
      [expect.stringMatching(/^[0-9a-f]{16}$/), "aaaaaaaaaaaaaaaa"],
      ["bbbbbbbbbbbbbbbb", "aaaaaaaaaaaaaaaa"],
      [expect.stringMatching(/^[0-9a-f]{16}$/), "bbbbbbbbbbbbbbbb"],
    ]);
    expect(new Set(spans.map(({ spanId }) => spanId)).size).toBe(4);
    expect(new Set(spans.map(({ traceId }) => traceId))).toEqual(new Set([TRACE.traceId]));
    expect(spans.map(({ flags }) => flags)).toEqual([0x101, 0x101, 0x101, 0x101]);
  });

  test("say who asked for what, who served it and how it ended, in the words of the conventions", () => {
    const [whole, , work] = spansOf(recorded(served), TRACE);
    const model = {
      "gen_ai.operation.name": "chat",
      "gen_ai.provider.name": "openai",
      "gen_ai.request.model": "m",
      "gen_ai.request.stream": true,
      "gen_ai.response.time_to_first_chunk": { seconds: 0.25 },
      "gen_ai.response.model": "m-q4",
      "gen_ai.usage.input_tokens": 30,
      "gen_ai.usage.output_tokens": 20,
      "gen_ai.usage.cache_read.input_tokens": 10,
      "modelrelay.usage.estimated": undefined,
      "modelrelay.worker": "gpu",
    };
    expect(whole?.attributes).toEqual({
      "http.request.method": "POST",
      "url.scheme": "https",
      "url.path": "/v1/chat/completions",
      "http.route": "/v1/chat/completions",
      "http.response.status_code": 200,
      "http.request.body.size": 7,
      "http.response.body.size": 9,
      "modelrelay.request.id": "mine",
      "modelrelay.outcome": "complete",
      "modelrelay.reason": undefined,
      ...model,
    });
    expect(work?.attributes).toEqual(model);
  });

  test("say so where tokens are an estimate, and nothing of tokens where there are none", () => {
    const usage = (tokens: RequestRecord["tokens"]) => {
      const [, , work] = spansOf(Object.assign(recorded(served), { tokens }), TRACE);
      return [work?.attributes["gen_ai.usage.input_tokens"], work?.attributes["modelrelay.usage.estimated"]];
    };
    expect(usage({ prompt: 3, completion: 2, cached: 0, estimated: true })).toEqual([3, true]);
    expect(usage(undefined)).toEqual([undefined, undefined]);
  });

  test("hang from the client's span and carry its state", () => {
    const parent = { traceId: TRACE.traceId, spanId: "00f067aa0ba902b7", flags: 1 };
    const spans = spansOf(recorded(served), { ...TRACE, parent, state: "a=b" });
    expect(spans[0]).toMatchObject({ parentSpanId: "00f067aa0ba902b7", flags: 0x301 });
    expect(spans.map(({ state }) => state)).toEqual(["a=b", "a=b", "a=b", "a=b"]);
    expect(spans.slice(1).map(({ flags }) => flags)).toEqual([0x101, 0x101, 0x101]);
  });

  test("are no more than the stages that the request reached", () => {
    const refused = recorded((record) => {
      record.status = 401;
      record.settle("refused", "invalid_api_key");
    });
    const waited = recorded((record, later) => {
      record.queuedAt = later();
      record.settle("refused", "queue_timeout");
      record.status = 503;
    });
    const silent = recorded((record, later) => {
      record.queuedAt = later();
      record.dispatchedAt = later();
    });
    expect([names(refused), names(waited), names(silent)]).toEqual([
      ["POST /v1/chat/completions"],
      ["POST /v1/chat/completions", "queue"],
      ["POST /v1/chat/completions", "queue", "worker"],
    ]);
    // A wait without an end lasted as long as the request.
    expect(spansOf(waited, TRACE)[1]).toMatchObject({ startedAt: AT + 250, endedAt: AT + 500 });
  });

  test.each([
    ["refused", "invalid_api_key", 401, false, 401],
    ["refused", "queue_timeout", 503, true, 503],
    ["failed", "backend_unreachable", 502, true, 502],
    // A stream that broke off had begun well.
    ["failed", "worker_lost", 200, true, 200],
    ["complete", "", 500, true, 500],
    ["complete", "", 404, false, 404],
    ["cancelled", "client_disconnect", 499, false, undefined],
  ] as const)("%s (%s, %d): an error is what the relay or what is behind it is to blame for", (...row) => {
    const [outcome, reason, status, failed, told] = row;
    const [whole] = spansOf(
      recorded((record) => {
        record.status = status;
        record.settle(outcome, reason);
      }),
      TRACE,
    );
    expect(whole?.failed).toBe(failed);
    expect(whole?.attributes["http.response.status_code"]).toBe(told);
    expect(whole?.attributes["error.type"]).toBe(failed ? reason || String(status) : undefined);
    expect(whole?.attributes["modelrelay.reason"]).toBe(reason === "" ? undefined : reason);
  });

  test("name routes, not what clients make of them", () => {
    const paths = [
      "/v1/messages",
      "/v1/models",
      "/v1/models/a/b",
      "/v1/anything/else",
      "/api/tags",
      "/v1/__proto__",
    ];
    expect(paths.map(routeOf)).toEqual([
      "/v1/messages",
      "/v1/models",
      "/v1/models/{model}",
      "/v1/*",
      "/api/tags",
      "/v1/*",
    ]);
    const other = recorded(served, "/v1/images/generations");
    expect(names(other)).toEqual(["POST /v1/*", "queue", "worker", "first byte"]);
  });

  test.each([
    ["/v1/messages", "chat", "anthropic"],
    ["/v1/responses", "chat", "openai"],
    ["/v1/completions", "text_completion", "openai"],
    ["/v1/embeddings", "embeddings", "openai"],
    ["/api/chat", "chat", "ollama"],
    ["/api/generate", "text_completion", "ollama"],
    ["/v1/rerank", undefined, "openai"],
  ])("of %s are a %s in the form of %s", (path, operation, format) => {
    const [whole] = spansOf(recorded(served, path), TRACE);
    expect(whole?.attributes["gen_ai.operation.name"]).toBe(operation);
    expect(whole?.attributes["gen_ai.provider.name"]).toBe(format);
  });
});
