import { describe, expect, test } from "bun:test";
import { Exposition, formatFor, labelText } from "../../../src/server/metrics/exposition.ts";
import { Histogram } from "../../../src/server/metrics/histogram.ts";
import { writeCertificates, writeStore } from "../../../src/server/metrics/relay-gauges.ts";
import { parseSamples } from "./samples.ts";

describe("Exposition", () => {
  test("writes a histogram's buckets as sums, each with what equals its bound", () => {
    const histogram = new Histogram([0.5, 1]);
    for (const value of [0.1, 0.5, 0.6, 1, 7]) histogram.observe(value);
    const out = new Exposition("prometheus");
    out.family("h_seconds", "histogram", "How long");
    out.histogram('a="b"', histogram);
    expect(out.end()).toBe(
      [
        "# HELP h_seconds How long",
        "# TYPE h_seconds histogram",
        'h_seconds_bucket{a="b",le="0.5"} 2',
        'h_seconds_bucket{a="b",le="1"} 4',
        'h_seconds_bucket{a="b",le="+Inf"} 5',
        'h_seconds_sum{a="b"} 9.2',
        'h_seconds_count{a="b"} 5',
        "",
      ].join("\n"),
    );
  });

  test("names a counter without its ending for OpenMetrics, writes bounds with a point, and says when it ends", () => {
    const out = new Exposition("openmetrics");
    out.family("c_total", "counter", "Count");
    out.sample("", 2);
    out.family("h", "histogram", "How long");
    out.histogram("", new Histogram([1]));
    expect(out.end()).toBe(
      [
        "# HELP c Count",
        "# TYPE c counter",
        "c_total 2",
        "# HELP h How long",
        "# TYPE h histogram",
        'h_bucket{le="1.0"} 0',
        'h_bucket{le="+Inf"} 0',
        "h_sum 0",
        "h_count 0",
        "# EOF",
        "",
      ].join("\n"),
    );
  });

  test("lets no name of a model end its line or its quotes", () => {
    expect(labelText({ model: 'a"b\\c\nd' })).toBe(String.raw`model="a\"b\\c\nd"`);
  });

  test("leaves out what is not known", () => {
    const out = new Exposition("prometheus");
    out.single("g", "gauge", "Something", undefined);
    expect(out.end()).toBe("");
  });

  test.each([
    [null, "prometheus"],
    ["*/*", "prometheus"],
    ["application/openmetrics-text", "openmetrics"],
    ["text/plain;q=0.4, application/openmetrics-text; version=1.0.0; q=0.6", "openmetrics"],
    ["application/openmetrics-text;q=0, text/plain", "prometheus"],
    ["application/openmetrics-text;q=0.0", "prometheus"],
    ["application/openmetrics-text;q=0.05", "openmetrics"],
  ] as const)("for a scraper that accepts %p is %s", (accept, format) => {
    expect(formatFor(accept)).toBe(format);
  });
});

describe("Metrics of the database", () => {
  test.each([
    [{ ok: true, since: 1, reason: "", code: undefined }, { modelrelay_database_up: 1 }],
    [{ ok: false, since: 1, reason: "full", code: undefined }, { modelrelay_database_up: 0 }],
    [undefined, {}],
  ])("for %p are %p", (health, expected) => {
    const out = new Exposition("prometheus");
    writeStore(out, health);
    expect(Object.fromEntries(parseSamples(out.end()))).toEqual(expected as Record<string, number>);
  });

  test("tell of usage that waits for it, and of what is lost", () => {
    const out = new Exposition("prometheus");
    writeStore(out, undefined, { bytes: 300, lost: 2 }, 3);
    expect(Object.fromEntries(parseSamples(out.end()))).toEqual({
      modelrelay_usage_waiting_bytes: 300,
      modelrelay_usage_lost_total: 2,
      modelrelay_bodies_lost_total: 3,
    });
  });
});

describe("Metrics of certificates", () => {
  const DAY = 86_400_000;
  const certificate = { issuer: "CA", serial: "1", notBefore: 0, notAfter: 10 * DAY, pin: "p" };
  const lastError = { at: 0, message: "no" };

  function written(reports: Parameters<typeof writeCertificates>[1], day: number): Record<string, number> {
    const out = new Exposition("prometheus");
    writeCertificates(out, reports, day * DAY);
    return Object.fromEntries(parseSamples(out.end().replaceAll("modelrelay_certificate_", "")));
  }

  test("tell for each name how many days are left, and whether it is served", () => {
    const report = { subject: "a.example", names: ["a.example", "b.example"], certificate };
    expect(written([report], 2.5)).toEqual({
      'served{name="a.example"}': 1,
      'served{name="b.example"}': 1,
      'days_left{name="a.example"}': 7.5,
      'days_left{name="b.example"}': 7.5,
      'failing{name="a.example"}': 0,
      'failing{name="b.example"}': 0,
    });
    expect(written([report], 11)).toMatchObject({
      'served{name="a.example"}': 0,
      'days_left{name="a.example"}': -1,
    });
    expect(written([{ ...report, unserved: "no key" }], 1)).toMatchObject({ 'served{name="a.example"}': 0 });
  });

  test("tell of a name that has none yet, and of a renewal that fails", () => {
    expect(written([{ subject: "a", names: ["a"], lastError }], 1)).toEqual({
      'served{name="a"}': 0,
      'failing{name="a"}': 1,
    });
    expect(written([{ subject: "a", names: [], certificate, lastError, ordering: true }], 1)).toMatchObject({
      'failing{name="a"}': 0,
    });
  });

  test("are not there for a relay without certificates", () => {
    expect(written([], 1)).toEqual({});
  });
});
