import { describe, expect, test } from "bun:test";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { createPlainPort } from "../../src/server/plain-port.ts";
import { startCheckedRelay } from "../support/checked-relay.ts";
import { DOMAIN, look } from "./looked-at.ts";

/** A port that was free a moment ago, for what must not be reached. */
function closedPort(): number {
  using listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  return listener.port;
}

/** What the check says of a port 80 that answers like this. */
async function lookAt(fetch: (request: Request) => Response | Promise<Response>) {
  await using server = {
    plain: Bun.serve({ hostname: "127.0.0.1", port: 0, fetch }),
    [Symbol.asyncDispose]() {
      return this.plain.stop(true);
    },
  };
  return (await look({ http: server.plain.port!, https: closedPort() })).one("port 80");
}

/** What the check says of a port 80 that answers with these bytes. */
async function lookAtBytes(answer: (socket: Socket) => void) {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => answer(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    return (await look({ http: (server.address() as AddressInfo).port, https: closedPort() })).one("port 80");
  } finally {
    server.close();
  }
}

describe("Name of a domain", () => {
  test("that does not resolve ends the check with the record to add", async () => {
    const lookup = () => Promise.reject(Object.assign(new Error("getaddrinfo"), { code: "ENOTFOUND" }));
    const findings = await look({ https: 1 }, { lookup });
    const { ok, details, action } = findings.one("name resolves");
    expect({ ok, details }).toEqual({ ok: false, details: "the name does not resolve" });
    expect(action).toContain(`A or AAAA record for ${DOMAIN}`);
    const others = findings.all.slice(1);
    expect(others.map(({ ok: later }) => later)).toEqual(Array<undefined>(10).fill(undefined));
    expect(new Set(findings.all.map(({ step }) => step)).size).toBe(11);
  });

  test("shows each address and says which are not reachable from outside", async () => {
    const port = closedPort();
    const lookup = () => Promise.resolve(["::1", "127.0.0.1"]);
    const findings = await look({ https: port }, { lookup });
    expect(findings.one("name resolves")).toMatchObject({
      ok: true,
      details: "127.0.0.1 (not reachable from outside), ::1 (not reachable from outside)",
    });
    expect(findings.of("port 443").map(({ target, ok }) => [target, ok])).toEqual([
      [`127.0.0.1:${port}`, false],
      [`[::1]:${port}`, false],
    ]);
    expect(findings.of("port 443")[1]?.action).toContain("delete the AAAA record");
  });

  test("is only shown when another address is tried instead", async () => {
    await using relay = startCheckedRelay();
    const lookup = () => Promise.resolve(["192.0.2.1"]);
    const findings = await look({ http: relay.port, https: closedPort() }, { lookup, connect: "127.0.0.1" });
    expect(findings.one("name resolves")).toMatchObject({
      ok: undefined,
      details: "127.0.0.1 is tried instead; the name leads to 192.0.2.1",
    });
    expect(findings.one("port 80").target).toBe(`127.0.0.1:${relay.port}`);
  });
});

describe("Port 80 of a domain", () => {
  test("that is closed names the firewall", async () => {
    const { ok, details, action } = (await look({ https: closedPort() })).one("port 80");
    expect({ ok, details }).toEqual({ ok: false, details: "nothing listens there (connection refused)" });
    expect(action).toContain("Open port 80");
  });

  test("of a relay is recognised, with its redirect", async () => {
    const challenge = () => Promise.resolve(undefined);
    expect(await lookAt(createPlainPort({ challenge, httpsPort: 443, domains: [DOMAIN] }))).toMatchObject({
      ok: true,
      details: "a modelrelay relay redirects to https (308)",
    });
  });

  test("of a proxy that redirects with 301 says what that does to POST", async () => {
    const { ok, details } = await lookAt(
      () =>
        new Response(undefined, {
          status: 301,
          headers: { location: `https://${DOMAIN}/`, server: "nginx/1.22.1" },
        }),
    );
    expect(ok).toBe(true);
    expect(details).toBe(
      "nginx/1.22.1 redirects to https (301), which clients follow with GET alone; 308 keeps POST",
    );
  });

  test("that redirects to another name fails with that name", async () => {
    const { ok, details } = await lookAt(() => Response.redirect("https://parking.example/", 302));
    expect(ok).toBe(false);
    expect(details).toContain("redirects to https://parking.example/ (302)");
  });

  test("where the API is answered without encryption fails", async () => {
    await using relay = startCheckedRelay();
    const findings = await look({ http: relay.port, https: closedPort() });
    expect(findings.one("port 80")).toMatchObject({
      ok: false,
      details: expect.stringContaining("without encryption (HTTP 200)") as unknown,
    });
  });

  test("of any other server is named", async () => {
    expect(
      await lookAt(() => new Response("<h1>It works", { headers: { server: "Apache\u0007" } })),
    ).toMatchObject({
      ok: true,
      details: "Apache? answers with HTTP 200 and does not redirect to https",
    });
  });

  test("that does not speak HTTP, never ends its header, or closes at once is told apart", async () => {
    expect(await lookAtBytes((socket) => socket.end("220 mail.example ESMTP\r\n"))).toMatchObject({
      ok: false,
      details: "it does not answer in HTTP",
    });
    expect(
      await lookAtBytes((socket) => void socket.write(`HTTP/1.1 200 OK\r\nx: ${"a".repeat(100_000)}`)),
    ).toMatchObject({ ok: false, details: "the header of its answer is too large" });
    expect(await lookAtBytes((socket) => void socket.end())).toMatchObject({
      ok: false,
      details: "the connection was closed without an answer",
    });
  });
});
