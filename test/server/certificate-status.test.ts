import { expect, test } from "bun:test";
import { certificateStatus, certificateTroubles } from "../../src/server/certificate-status.ts";
import type { Relay } from "../../src/server/relay.ts";
import { readiness } from "../../src/server/status.ts";

const report = (message: string, action: string) => ({
  subject: "relay.example.com",
  names: ["relay.example.com"],
  lastError: { at: 0, message, action },
});

test("The status of a certificate tells strangers what is wrong, and not where files lie", () => {
  const failed = report(
    'Cannot write "/var/lib/modelrelay/tls/relay.example.com/state.json": the disk is full',
    "Look at C:\\ProgramData\\modelrelay\\tls\\x.pem, and see https://letsencrypt.org/docs/rate-limits/ or --tls-cert /etc/ssl/a.pem",
  );
  expect(certificateStatus(failed)).toMatchObject({
    last_error: {
      message: 'Cannot write "…/state.json": the disk is full',
      action: "Look at …/x.pem, and see https://letsencrypt.org/docs/rate-limits/ or --tls-cert …/a.pem",
      at: "1970-01-01T00:00:00.000Z",
    },
  });
  expect(certificateTroubles(failed, 0)).toEqual([
    'there is no certificate for relay.example.com yet: Cannot write "…/state.json": the disk is full',
  ]);
});

test("The status of a certificate leaves what only looks like a path", () => {
  const message = "port 80 of a.example: HTTP/1.1 answered at 10.0.0.0/8 within 1/2 s";
  expect(certificateStatus(report(message, "Nothing"))).toMatchObject({ last_error: { message } });
});

test("A relay whose HTTPS port cannot be had is not ready", () => {
  const { ready, reasons } = readiness(
    {
      core: { draining: false, registry: { size: 1, models: () => ["m"] }, queueLength: 0 },
      config: { maxQueueLen: 1 },
    } as unknown as Relay,
    ["a.example", "b.example"].map((name) => ({
      subject: name,
      names: [name],
      certificate: { issuer: "", serial: "", notBefore: 0, notAfter: 10, pin: "" },
      unserved: "Cannot listen on :::443",
    })),
    1,
  );
  expect({ ready, reasons }).toEqual({
    ready: false,
    reasons: ["HTTPS is not served: Cannot listen on :::443"],
  });
});
