import { describe, expect, test } from "bun:test";
import { describeNetworkError } from "../../src/base/network-error.ts";
import { describeTlsFailure } from "../../src/base/tls-failure.ts";

const HOST = "relay.example.com";
const AT = Date.UTC(2026, 10, 20, 12, 30);

describe("TLS failure", () => {
  test("of the name tells which names the certificate holds, and for which it was asked", () => {
    const code = "ERR_TLS_CERT_ALTNAME_INVALID";
    expect(describeTlsFailure(code, HOST, { names: ["a.example", "*.b.example"] })?.message).toBe(
      "its certificate is for a.example, *.b.example, not for relay.example.com",
    );
    expect(describeTlsFailure(code, HOST, { names: [] })?.message).toBe(
      "its certificate names nothing, so that it is not for relay.example.com",
    );
    expect(describeTlsFailure(code, HOST)?.message).toBe(
      "its certificate is for another name than relay.example.com",
    );
    const many = Array.from({ length: 7 }, (_, index) => `n${index}.example`);
    expect(describeTlsFailure(code, HOST, { names: many })?.message).toContain("n4.example and 2 more, not");
  });

  test("of the time tells the moment, and what the clock here says", () => {
    expect(describeTlsFailure("CERT_HAS_EXPIRED", HOST, { notAfter: AT, now: AT + 3_600_000 })?.message).toBe(
      "its certificate has expired on 2026-11-20 12:30 UTC (the clock here says 2026-11-20 13:30 UTC)",
    );
    expect(describeTlsFailure("CERT_NOT_YET_VALID", HOST, { notBefore: AT })?.message).toBe(
      "its certificate is not valid yet, only from 2026-11-20 12:30 UTC on",
    );
    expect(describeTlsFailure("CERT_HAS_EXPIRED", HOST, { notAfter: Number.NaN })?.message).toBe(
      "its certificate has expired",
    );
  });

  test("of the chain tells a missing intermediate from an unknown authority", () => {
    const seen = { issuer: "Some CA" };
    expect(describeTlsFailure("UNABLE_TO_VERIFY_LEAF_SIGNATURE", HOST, seen)?.action).toContain(
      "fullchain.pem",
    );
    expect(describeTlsFailure("UNABLE_TO_GET_ISSUER_CERT_LOCALLY", HOST, seen)).toMatchObject({
      message: "its certificate comes from an authority that this machine does not trust (issued by Some CA)",
      action: expect.stringContaining("--ca-file") as unknown,
    });
  });

  test("of the handshake tells plain HTTP from an alert", () => {
    expect(describeTlsFailure("ERR_SSL_WRONG_VERSION_NUMBER", HOST)?.message).toContain("plain HTTP");
    expect(describeTlsFailure("ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR", HOST)?.message).toBe(
      "the TLS handshake failed: it refused what this program offered",
    );
  });

  test("is not made of codes that have nothing to do with TLS", () => {
    for (const code of ["ECONNREFUSED", "", "toString", "__proto__"]) {
      expect(describeTlsFailure(code, HOST)).toBeUndefined();
    }
  });

  test("lets no control character of a certificate through, and no endless name", () => {
    const text = describeTlsFailure("ERR_TLS_CERT_ALTNAME_INVALID", HOST, {
      names: [`evil\u001b[31m\u0000${"x".repeat(5_000)}`],
    })?.message;
    expect(text).toMatch(/^its certificate is for evil\?\[31m\?x{90}…, not for relay\.example\.com$/);
  });

  test("ends a sentence about a connection without naming an address", () => {
    const error = Object.assign(new Error("https://secret.example/"), { code: "CERT_HAS_EXPIRED" });
    expect(describeNetworkError(error)).toBe("its certificate has expired");
  });
});
