import { Inbox } from "../../support/inbox.ts";
import type { TracingConfig } from "../../../src/server/trace/tracing.ts";

/** One posted batch. */
export interface Posted {
  headers: Headers;
  /** As it came over the wire. */
  body: Uint8Array<ArrayBuffer>;
  /** Of the whole requests in it. */
  paths: string[];
}

/** A collector that answers as a test says: for the faults that a real one will not produce. */
export interface FakeCollector extends Disposable {
  url: string;
  posted: Inbox<Posted>;
  /** Posts so far. */
  count: number;
  /** Answers the next posts. */
  answer: (post: Posted) => Response | Promise<Response>;
}

export function startFakeCollector(): FakeCollector {
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    idleTimeout: 0,
    async fetch(request) {
      const post = await readPost(request);
      collector.count++;
      collector.posted.put(post);
      return collector.answer(post);
    },
  });
  const collector: FakeCollector = {
    url: `http://127.0.0.1:${server.port}/v1/traces`,
    posted: new Inbox(),
    count: 0,
    answer: () => Response.json({}),
    [Symbol.dispose]: () => void server.stop(true),
  };
  return collector;
}

async function readPost(request: Request): Promise<Posted> {
  const body = new Uint8Array(await request.arrayBuffer());
  const text = request.headers.get("content-encoding") === "gzip" ? Bun.gunzipSync(body) : body;
  const { resourceSpans } = JSON.parse(Buffer.from(text).toString()) as {
    resourceSpans: {
      scopeSpans: { spans: { attributes: { key: string; value: { stringValue?: string } }[] }[] }[];
    }[];
  };
  const paths = resourceSpans
    .flatMap(({ scopeSpans }) => scopeSpans)
    .flatMap(({ spans }) => spans)
    .flatMap(({ attributes }) => attributes)
    .flatMap(({ key, value }) => (key === "url.path" ? [value.stringValue ?? ""] : []));
  return { headers: request.headers, body, paths };
}

/** Settings that send every trace there. */
export function tracingTo(url: string, more: Partial<TracingConfig> = {}): TracingConfig {
  return {
    url,
    headers: {},
    timeoutMs: 10_000,
    gzip: false,
    resource: { "service.name": "relay under test" },
    sampler: "parentbased_always_on",
    ratio: 1,
    ...more,
  };
}
