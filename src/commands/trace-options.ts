import { version } from "../base/build-info.ts";
import { parseDuration } from "../base/duration.ts";
import { SAMPLERS } from "../server/trace/sampler.ts";
import type { TracingConfig } from "../server/trace/tracing.ts";
import { defineOptions, type Config } from "./options.ts";
import { label, oneOf, splitList, textKind } from "./value-kinds.ts";

/** Longest time of one try, in ms. */
const MAX_TIMEOUT_MS = 10 * 60_000;

function httpUrl(text: string): URL | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url !== undefined && /^https?:$/.test(url.protocol) && url.hash === "" ? url : undefined;
}

/** Pairs as W3C Baggage writes them: commas between, values with percent signs for what cannot stand there. */
function pairsOf(text: string, name: RegExp): Record<string, string> | undefined {
  const pairs: Record<string, string> = {};
  for (const item of splitList(text)) {
    if (item === "") continue;
    const at = item.indexOf("=");
    const key = item.slice(0, Math.max(at, 0)).trim();
    if (!name.test(key)) return undefined;
    try {
      pairs[key] = decodeURIComponent(item.slice(at + 1).trim());
    } catch {
      return undefined;
    }
  }
  return pairs;
}

const headers = textKind("header fields such as name=value, with commas between them", (text) => {
  const fields = pairsOf(text, /^[!#$%&'*+\-.^_`|~0-9a-z]+$/i);
  const values = Object.values(fields ?? {});
  return values.every((value) => /^[\t\u0020-\u007e]*$/.test(value)) ? fields : undefined;
});

const attributes = textKind(
  "attributes such as deployment.environment.name=test, with commas between them",
  (text) => pairsOf(text, /^[\u0021-\u007e]+$/),
);

/** As OpenTelemetry has it, unlike everywhere else here. */
const milliseconds = textKind("a plain number of milliseconds, or a duration such as 10s", (text) => {
  const ms = /^\s*\d+\s*$/.test(text) ? Number(text) : parseDuration(text);
  return ms !== undefined && ms > 0 && ms <= MAX_TIMEOUT_MS ? ms : undefined;
});

/** Where traces go: OpenTelemetry's own variables, as far as they mean something here. */
export const traceOptions = defineOptions({
  otlpEndpoint: {
    env: "OTEL_EXPORTER_OTLP_ENDPOINT",
    hint: "URL",
    help: "OpenTelemetry collector that is sent a trace of each request, by OTLP over HTTP under /v1/traces",
    defaultText: "none: no traces",
    schema: textKind("an http:// or https:// address", (text) => {
      const url = httpUrl(text);
      return url?.search === "" ? url.href.replace(/\/+$/, "") : undefined;
    }),
  },
  otlpTracesEndpoint: {
    env: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    hint: "URL",
    help: "The same, with the whole path",
    schema: textKind("an http:// or https:// address", (text) => httpUrl(text)?.href),
  },
  otlpHeaders: {
    env: "OTEL_EXPORTER_OTLP_HEADERS",
    secret: true,
    hint: "NAME=VALUE",
    help: "Header fields for the collector, such as a key",
    schema: headers,
  },
  otlpTimeoutMs: {
    flag: "otlp-timeout",
    env: "OTEL_EXPORTER_OTLP_TIMEOUT",
    default: "10s",
    hint: "MS",
    help: "Longest time that the collector gets to take a batch",
    schema: milliseconds,
  },
  otlpCompression: {
    env: "OTEL_EXPORTER_OTLP_COMPRESSION",
    default: "none",
    hint: "NAME",
    help: "How batches are compressed: none or gzip",
    schema: oneOf(["none", "gzip"]),
  },
  otelServiceName: {
    env: "OTEL_SERVICE_NAME",
    hint: "NAME",
    help: "What the relay is called in traces",
    defaultText: "modelrelay",
    schema: label(255),
  },
  otelResourceAttributes: {
    env: "OTEL_RESOURCE_ATTRIBUTES",
    hint: "NAME=VALUE",
    help: "What else is said of the relay in traces",
    schema: attributes,
  },
  tracesSampler: {
    env: "OTEL_TRACES_SAMPLER",
    default: "parentbased_always_on",
    hint: "NAME",
    help: "Which traces are kept; parentbased_… decides only where the client has not",
    schema: oneOf(SAMPLERS),
  },
  tracesSamplerArg: {
    env: "OTEL_TRACES_SAMPLER_ARG",
    default: "1",
    hint: "RATIO",
    help: "Share of the traces that a sampler by ratio keeps",
    schema: textKind("a number from 0 to 1", (text) => {
      const ratio = Number(text);
      return text.trim() !== "" && ratio >= 0 && ratio <= 1 ? ratio : undefined;
    }),
  },
});

/** @returns where traces go; `undefined` for nowhere */
export function tracingOf(config: Config<typeof traceOptions>): TracingConfig | undefined {
  const url = config.otlpTracesEndpoint ?? (config.otlpEndpoint && `${config.otlpEndpoint}/v1/traces`);
  if (url === undefined) return undefined;
  const { otelServiceName: name, otelResourceAttributes: said } = config;
  return {
    url,
    headers: config.otlpHeaders ?? {},
    timeoutMs: config.otlpTimeoutMs,
    gzip: config.otlpCompression === "gzip",
    resource: {
      "service.name": "modelrelay",
      "service.version": version,
      "service.instance.id": crypto.randomUUID(),
      ...said,
      ...(name !== undefined && { "service.name": name }),
    },
    sampler: config.tracesSampler,
    ratio: config.tracesSamplerArg,
  };
}
