import { describe, expect, test } from "bun:test";
import { explainProblem, readProblem, retryAfterInText } from "../../src/tls/acme/problem.ts";

const NOW = Date.UTC(2026, 11, 1, 12);
const context = { doing: "get a certificate for a.example", names: ["a.example"], nowMs: NOW };
const of = (type: string, more: object = {}) =>
  readProblem({ type: `urn:ietf:params:acme:error:${type}`, detail: "the words of the CA", ...more }, 403);

/** RFC 8555 §6.7, RFC 9773 §7.4. */
const TYPES = [
  "accountDoesNotExist",
  "alreadyReplaced",
  "alreadyRevoked",
  "badCSR",
  "badNonce",
  "badPublicKey",
  "badRevocationReason",
  "badSignatureAlgorithm",
  "caa",
  "connection",
  "dns",
  "externalAccountRequired",
  "incorrectResponse",
  "invalidContact",
  "malformed",
  "orderNotReady",
  "rateLimited",
  "rejectedIdentifier",
  "serverInternal",
  "tls",
  "unauthorized",
  "unsupportedContact",
  "unsupportedIdentifier",
  "userActionRequired",
];

describe("A problem of a CA", () => {
  test("of every type in the RFCs has a cause of its own, the CA's words, and a remedy", () => {
    const causes = TYPES.map((type) => {
      const error = explainProblem(of(type), context);
      expect({ type, is: error.type }).toEqual({ type, is: type });
      expect(error.message).toStartWith("Cannot get a certificate for a.example: ");
      expect(error.message).toEndWith('; the CA says: "the words of the CA"');
      expect(error.message).not.toContain("refused it (");
      expect(error.action).toMatch(/^[A-Z].*[^.]$/);
      return error.message;
    });
    expect(new Set(causes).size).toBe(TYPES.length);
  });

  test("is permanent only where nothing but a person can help", () => {
    const passing = TYPES.filter((type) => !explainProblem(of(type), context).permanent);
    expect(passing).toEqual([
      "accountDoesNotExist",
      "alreadyReplaced",
      "badNonce",
      "connection",
      "dns",
      "incorrectResponse",
      "orderNotReady",
      "rateLimited",
      "serverInternal",
      "tls",
    ]);
    expect(explainProblem(of("unauthorized"), { ...context, about: "challenge" }).permanent).toBe(false);
  });

  test("with the address that the CA found shows it", () => {
    const error = explainProblem(of("connection"), { ...context, address: "203.0.113.9" });
    expect(error.message).toContain("could not connect to port 80 of a.example at 203.0.113.9");
  });

  test("without a document is told by its status", () => {
    const told = (status: number, body: unknown = "") =>
      explainProblem(readProblem(body, status), context).message.slice(
        "Cannot get a certificate for a.example: ".length,
      );
    expect([told(429), told(500), told(503), told(502, "<html><h1>Bad gateway</h1>"), told(404)]).toEqual([
      "the CA's rate limit is reached",
      "the CA has trouble of its own (HTTP 500)",
      "the CA is down for maintenance, or overloaded (HTTP 503)",
      'the CA has trouble of its own (HTTP 502); the CA says: "Bad gateway"',
      "the CA refused it (HTTP 404)",
    ]);
  });

  test("cannot harm a terminal or fill a log", () => {
    const hostile = {
      type: `\u001b[2J${"t".repeat(5_000)}`,
      detail: `a\r\nb\u0000\u202e${"d".repeat(5_000)}`,
      identifier: { type: "dns", value: `\u001b]0;x\u0007${"n".repeat(5_000)}` },
      instance: "javascript:alert(1)",
      subproblems: Array.from({ length: 1_000 }, () => ({ detail: "s".repeat(5_000), subproblems: [{}] })),
    };
    const error = explainProblem(readProblem(hostile, 400), context);
    // eslint-disable-next-line no-control-regex
    expect(error.message + error.action).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
    expect(error.message.length).toBeLessThan(6_000);
  });

  test("in any shape is read", () => {
    for (const body of [
      null,
      [],
      7,
      "text",
      { type: 7, detail: {}, subproblems: "no", identifier: "x", status: "4" },
    ])
      expect(explainProblem(readProblem(body, 400), context).message).toStartWith("Cannot get a certificate");
    expect(explainProblem(readProblem({ type: "constructor" }, 400), context).type).toBe("constructor");
    expect(explainProblem(readProblem({ type: "about:blank", title: "No" }, 400), context).type).toBe(
      "http400",
    );
  });

  test("waits for the later of what the header and the words say", () => {
    const limited = of("rateLimited", { detail: "retry after 2026-12-01 14:00:00 UTC" });
    const at = (retryAfterMs?: number) => explainProblem(limited, { ...context, retryAfterMs }).retryAtMs;
    expect([at(), at(60_000), at(10_800_000)]).toEqual([NOW + 7_200_000, NOW + 7_200_000, NOW + 10_800_000]);
    expect(explainProblem(limited, context).message).toContain("until 2026-12-01 14:00 UTC");
  });
});

describe("Retry-After", () => {
  test("is found in the words of a CA, with a time zone that is given", () => {
    const read = [
      "too many certificates, retry after 2026-12-01 13:00:00 UTC: see https://ca.example/",
      "Retry After 2026-12-01T12:00:30.5Z",
      "retry after 2026-12-01 11:00:00 UTC",
      "retry after 2026-12-01 13:00:00",
      "retry after 2026-99-99 13:00:00 UTC",
    ];
    expect(read.map((text) => retryAfterInText(text, NOW))).toEqual([
      3_600_000,
      30_000,
      undefined,
      undefined,
      undefined,
    ]);
  });
});
