import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { LINK_CHECK_PATH, STREAM_CHECK_PATH } from "../../src/protocol/paths.ts";
import { startBadNginx } from "../support/bad-nginx.ts";
import { startCheckedRelay, type CheckedRelay } from "../support/checked-relay.ts";
import { makeCertificate } from "../support/certificates.ts";
import { Inbox } from "../support/inbox.ts";
import { lacksPart } from "../support/parts.ts";
import { DOMAIN, look } from "./looked-at.ts";

const ca = makeCertificate({ names: ["Test CA"], authority: true });
const certificate = makeCertificate({ names: [DOMAIN], issuer: ca });
const caPem = ca.chainPem;

const UPGRADES =
  "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;";
const GOOD = `${UPGRADES} proxy_buffering off; proxy_read_timeout 1h;`;

/** What the check says of a relay behind an nginx that is configured like this. */
async function lookThrough(
  location: string,
  more: { waitMs?: number; server?: string | ((pass: string) => string) } = {},
) {
  await using relay = startCheckedRelay();
  const { waitMs = 0 } = more;
  const pass = `proxy_pass http://127.0.0.1:${relay.port};`;
  const server = typeof more.server === "function" ? more.server(pass) : more.server;
  await using nginx = await startBadNginx({
    certificate,
    upstreamPort: relay.port,
    location,
    ...(server !== undefined && { server }),
  });
  return await look({ https: nginx.port }, { caPem, waitMs });
}

/** What the check says of a relay that answers some requests with something else. */
async function lookInstead(instead: CheckedRelay["instead"], waitMs = 0) {
  await using relay = startCheckedRelay({ certificate });
  relay.instead = instead;
  return await look({ https: relay.port }, { caPem, waitMs });
}

const failures = (findings: Awaited<ReturnType<typeof look>>) =>
  findings.all.filter(({ ok, step }) => ok === false && step !== "port 80").map(({ step }) => step);

describe.skipIf(lacksPart("nginx"))("Relay behind nginx", () => {
  test("that is configured well passes", async () => {
    const findings = await lookThrough(GOOD, { waitMs: 300 });
    expect(failures(findings)).toEqual([]);
    expect(findings.one("worker link").ok).toBe(true);
    expect(findings.one("stream unbuffered").ok).toBe(true);
    expect(findings.one("idle link kept").ok).toBe(true);
  });

  test("without upgrade headers fails at the worker link, with the lines that are missing", async () => {
    const findings = await lookThrough("proxy_buffering off;", { waitMs: 300 });
    expect(failures(findings)).toEqual(["worker link"]);
    const { details, action } = findings.one("worker link");
    expect(details).toBe(
      "the request arrives without its WebSocket upgrade: a proxy in between drops those headers",
    );
    expect(action).toContain("proxy_set_header Upgrade $http_upgrade");
    expect(findings.one("idle link kept").ok).toBeUndefined();
  });

  test("with upgrade headers for the link alone, as people write it by hand, passes", async () => {
    const findings = await lookThrough("proxy_buffering off;", {
      waitMs: 300,
      server: (pass) => `location /v1/worker/connect { ${pass} ${GOOD} }`,
    });
    expect(failures(findings)).toEqual([]);
    expect(findings.one("worker link").details).toContain("upgrades go through");
    expect(findings.one("idle link kept").ok).toBe(true);
  });

  test("with upgrade headers for exactly that path passes, and is told why silence is not tried", async () => {
    const findings = await lookThrough("proxy_buffering off;", {
      waitMs: 300,
      server: (pass) => `location = /v1/worker/connect { ${pass} ${GOOD} }`,
    });
    expect(failures(findings)).toEqual([]);
    expect(findings.one("worker link")).toMatchObject({
      ok: true,
      details: "the relay is reached (HTTP 401, no secret was sent), with the upgrade",
    });
    expect(findings.one("idle link kept")).toMatchObject({
      ok: undefined,
      action: expect.stringContaining("without =") as unknown,
    });
  });

  test("with buffering fails at the stream", async () => {
    const findings = await lookThrough(`${UPGRADES} proxy_read_timeout 1h;`);
    expect(failures(findings)).toEqual(["stream unbuffered"]);
    const { details, action } = findings.one("stream unbuffered");
    expect(details).toMatch(/^parts that were sent 500 ms apart arrived together, [1-9]\d{3} ms after/);
    expect(action).toContain("proxy_buffering off");
  });

  test("with a short timeout fails at the idle link, and says after which time", async () => {
    const findings = await lookThrough(`${UPGRADES} proxy_buffering off; proxy_read_timeout 1s;`, {
      waitMs: 10_000,
    });
    expect(failures(findings)).toEqual(["idle link kept"]);
    const { details, action } = findings.one("idle link kept");
    expect(details).toMatch(/^it was closed after [1-4](\.\d)? s of silence$/);
    expect(action).toContain("proxy_read_timeout 86400s");
  });

  test("that passes nothing below /v1/ on fails at the models with what nginx answers", async () => {
    const findings = await lookThrough(GOOD, { server: "location /v1/ { return 404; }" });
    expect(failures(findings)).toEqual(["models over https", "worker link"]);
    expect(findings.one("models over https").details).toMatch(/^nginx\/[\d.]+ answers with HTTP 404$/);
    expect(findings.one("models over https").action).toContain("modelrelay tls nginx");
  });

  test("while the relay is down says that the proxy does not reach it", async () => {
    const relay = startCheckedRelay();
    await using nginx = await startBadNginx({ certificate, upstreamPort: relay.port, location: GOOD });
    await relay[Symbol.asyncDispose]();
    const findings = await look({ https: nginx.port }, { caPem });
    expect(findings.one("models over https")).toMatchObject({
      ok: false,
      details: expect.stringMatching(/HTTP 502: it does not reach the relay behind it$/) as unknown,
    });
  });

  test("that accepts TLS 1.1 fails at the protocols", async () => {
    const findings = await lookThrough(GOOD, {
      server: "ssl_protocols TLSv1.1 TLSv1.2; ssl_ciphers ALL:@SECLEVEL=0;",
    });
    expect(findings.one("protocols")).toMatchObject({
      ok: false,
      details: "TLS 1.1, TLS 1.2, HTTP/1.1: versions below 1.2 are broken",
    });
  });
});

describe("Relay of a domain", () => {
  test("that asks for keys is fine", async () => {
    const findings = await lookInstead(({ url }) =>
      url.endsWith("/v1/models") ? Response.json({}, { status: 401 }) : undefined,
    );
    expect(findings.one("models over https")).toMatchObject({
      ok: true,
      details: "it answers, and asks for a key (HTTP 401)",
    });
  });

  test("in whose place a web page answers fails", async () => {
    const findings = await lookInstead(
      () => new Response("<html>", { headers: { "content-type": "text/html" } }),
    );
    expect(findings.one("models over https")).toMatchObject({
      ok: false,
      details: "a server that gives no name answers with text/html, which is no list of models",
    });
    expect(findings.one("worker link").ok).toBe(false);
  });

  test("in whose place another address is named fails with that address", async () => {
    const findings = await lookInstead(() => Response.redirect(`https://${DOMAIN}/login`, 302));
    expect(findings.one("models over https").details).toContain(`redirects to https://${DOMAIN}/login (302)`);
  });

  test("that says 426 has lost the upgrade on the way", async () => {
    const findings = await lookInstead(({ url }) =>
      url.includes("/v1/worker/connect") ? new Response("", { status: 426 }) : undefined,
    );
    expect(findings.one("worker link").details).toContain("without its WebSocket upgrade");
  });

  test("of an older version, without a stream check, is not blamed for that", async () => {
    const findings = await lookInstead(
      ({ url }) =>
        url.endsWith(STREAM_CHECK_PATH) || url.endsWith(LINK_CHECK_PATH)
          ? new Response("", { status: 404 })
          : undefined,
      500,
    );
    expect(findings.one("worker link")).toMatchObject({
      ok: true,
      details: expect.stringContaining("does not let be tried") as unknown,
    });
    expect(findings.one("stream unbuffered").ok).toBeUndefined();
    expect(findings.one("idle link kept").ok).toBeUndefined();
  });

  test("that ends its stream too early fails", async () => {
    const findings = await lookInstead(({ url }) =>
      url.endsWith(STREAM_CHECK_PATH)
        ? new Response('data: {"part":1}\n\n', { headers: { "content-type": "text/event-stream" } })
        : undefined,
    );
    expect(findings.one("stream unbuffered")).toMatchObject({
      ok: false,
      details: "the stream ended before its second part",
    });
  });

  test("that closes a silent link in order, or cuts it, fails at the idle link", async () => {
    for (const end of ["close", "terminate"] as const) {
      await using relay = startCheckedRelay({ certificate });
      const waits = new Inbox<number>();
      const clock = {
        ...systemClock,
        // Progress is told every 15 s: here at once, so that the link is known to be held.
        after: (ms: number, fire: () => void) => systemClock.after(ms === 15_000 ? 20 : ms, fire),
      };
      const found = look(
        { https: relay.port },
        { caPem, waitMs: 60_000, clock, onProgress: (_step, _target, waitedMs) => waits.put(waitedMs) },
      );
      await waits.next();
      for (const socket of relay.silent) socket[end]();
      expect((await found).one("idle link kept")).toMatchObject({
        ok: false,
        details: expect.stringMatching(/^it was closed after .* of silence$/) as unknown,
      });
    }
  });

  test("whose silent link is left open by a proxy that carries nothing any more fails", async () => {
    const held: Bun.Socket[] = [];
    // Agrees to the upgrade, and never says anything again.
    using server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      tls: { cert: certificate.chainPem, key: certificate.keyPem },
      socket: {
        data(socket, data) {
          if (data.includes("upgrade")) {
            held.push(socket);
            socket.write("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n");
          } else if (data.includes("GET ")) socket.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        },
      },
    });
    const clock = {
      ...systemClock,
      after: (ms: number, fire: () => void) => systemClock.after(ms / 100, fire),
    };
    const findings = await look({ https: server.port }, { caPem, clock, waitMs: 2_000 });
    expect(findings.one("worker link").ok).toBe(true);
    expect(findings.one("idle link kept").ok).toBe(false);
    for (const socket of held) socket.terminate();
  });
});
