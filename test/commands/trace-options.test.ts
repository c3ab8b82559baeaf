import { describe, expect, test } from "bun:test";
import { serveOptions } from "../../src/commands/serve-options.ts";
import { tracingOf } from "../../src/commands/trace-options.ts";
import { mistake, reader } from "./reading.ts";

const serve = reader("serve", serveOptions);
const tracing = (env: Record<string, string>) => tracingOf(serve([], env).config);

describe("Where traces go", () => {
  test("nowhere without an endpoint, whatever else is set", () => {
    expect(tracing({ OTEL_SERVICE_NAME: "x", OTEL_TRACES_SAMPLER: "always_on" })).toBeUndefined();
  });

  test.each([
    ["http://c:4318", undefined, "http://c:4318/v1/traces"],
    ["http://c:4318/", undefined, "http://c:4318/v1/traces"],
    ["https://c/otlp/", undefined, "https://c/otlp/v1/traces"],
    [undefined, "http://c:4318", "http://c:4318/"],
    [undefined, "https://c/in/?key=1", "https://c/in/?key=1"],
    ["http://other", "https://c/in", "https://c/in"],
  ])("for %s and %s to the path that the specification says", (all, traces, url) => {
    const env = {
      ...(all !== undefined && { OTEL_EXPORTER_OTLP_ENDPOINT: all }),
      ...(traces !== undefined && { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: traces }),
    };
    expect(tracing(env)?.url).toBe(url);
  });

  test("under the name of the service, then that of the attributes, then our own", () => {
    const named = (more: Record<string, string>) =>
      tracing({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c", ...more })?.resource;
    const said = { OTEL_RESOURCE_ATTRIBUTES: "service.name=b,host.name=h%2C1,service.instance.id=i" };
    expect(named({})).toEqual({
      "service.name": "modelrelay",
      "service.version": expect.any(String),
      "service.instance.id": expect.any(String),
    });
    expect(named(said)).toMatchObject({
      "service.name": "b",
      "host.name": "h,1",
      "service.instance.id": "i",
    });
    expect(named({ ...said, OTEL_SERVICE_NAME: "a" })).toMatchObject({ "service.name": "a" });
  });

  test.each([
    ["OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"],
    ["OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://c:4317"],
    ["OTEL_EXPORTER_OTLP_ENDPOINT", "http://c/?x=1"],
    ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "traces"],
    ["OTEL_EXPORTER_OTLP_HEADERS", "key"],
    ["OTEL_EXPORTER_OTLP_HEADERS", "=s3cret"],
    ["OTEL_EXPORTER_OTLP_HEADERS", "a b=s3cret"],
    ["OTEL_EXPORTER_OTLP_HEADERS", "a=%zz"],
    ["OTEL_EXPORTER_OTLP_HEADERS", "a=b%0d%0ax: y"],
    ["OTEL_RESOURCE_ATTRIBUTES", "host.name"],
    ["OTEL_EXPORTER_OTLP_TIMEOUT", "0"],
    ["OTEL_EXPORTER_OTLP_TIMEOUT", "-1"],
    ["OTEL_EXPORTER_OTLP_TIMEOUT", "soon"],
    ["OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"],
    ["OTEL_TRACES_SAMPLER", "jaeger_remote"],
    ["OTEL_TRACES_SAMPLER_ARG", "1.5"],
    ["OTEL_TRACES_SAMPLER_ARG", " "],
  ])("is refused for %s=%s, by its name", (name, value) => {
    const { message } = mistake(() => serve([], { [name]: value }));
    expect(message).toContain(`(environment variable ${name}): expected `);
    if (name.endsWith("HEADERS")) expect(message).not.toContain(value);
  });
});
