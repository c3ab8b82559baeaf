import { Inbox } from "./inbox.ts";
import { requirePart } from "./parts.ts";

/** A span as the collector's own JSON has it; what it did not understand is not there. */
export interface CollectedSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  traceState?: string;
  flags?: number;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes?: { key: string; value: Record<string, unknown> }[];
  status: { code?: number };
}

export interface CollectedBatch {
  resource: { key: string; value: Record<string, unknown> }[];
  spans: CollectedSpan[];
}

/** OpenTelemetry's own collector, built from `test/support/collector`. */
export interface Collector extends AsyncDisposable {
  /** For OTLP over HTTP, without the path. */
  url: string;
  batches: Inbox<CollectedBatch>;
}

/** The port is read off the line that says that the receiver has begun. */
const LISTENS = /Starting HTTP server.*"endpoint": "(127\.0\.0\.1:\d+)"/;

export async function startCollector(): Promise<Collector> {
  const settings = [
    "receivers::otlp::protocols::http::endpoint: 127.0.0.1:0",
    "exporters::stdout:",
    "service::pipelines::traces::receivers: [otlp]",
    "service::pipelines::traces::exporters: [stdout]",
    "service::telemetry::metrics::level: none",
  ];
  const child = Bun.spawn(
    [requirePart("collector"), ...settings.flatMap((setting) => ["--config", `yaml:${setting}`])],
    { stdin: "ignore", stdout: "pipe", stderr: "pipe" },
  );
  const batches = new Inbox<CollectedBatch>();
  void eachLine(child.stdout, (line) => {
    const { resourceSpans } = JSON.parse(line) as {
      resourceSpans: { resource: { attributes: CollectedBatch["resource"] }; scopeSpans: CollectedBatch[] }[];
    };
    for (const { resource, scopeSpans } of resourceSpans)
      batches.put({ resource: resource.attributes, spans: scopeSpans.flatMap(({ spans }) => spans) });
  });
  const listens = Promise.withResolvers<string>();
  void eachLine(child.stderr, (line) => {
    const [, address] = LISTENS.exec(line) ?? [];
    if (address !== undefined) listens.resolve(address);
  }).then(() => listens.reject(new Error("The collector ended before it listened")));
  return {
    url: `http://${await listens.promise}`,
    batches,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

async function eachLine(output: ReadableStream<Uint8Array>, take: (line: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const part of output) {
    const lines = (rest + decoder.decode(part, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) take(line);
  }
}
