import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { createPlainPort, type PlainPortOptions } from "../../src/server/plain-port.ts";

const KEY = "DGyRejmCefe7v4NfDGDKfA.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI";

function options(more: Partial<PlainPortOptions> = {}): PlainPortOptions {
  return {
    challenge: async (token) => (token === "DGyRejmCefe7v4NfDGDKfA" ? KEY : undefined),
    httpsPort: 443,
    domains: ["relay.example.com", "www.example.com"],
    ...more,
  };
}

/** The plain port on a real socket, which a test talks to in bytes. */
function plainPort(more: Partial<PlainPortOptions> = {}) {
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    development: false,
    // As the relay's listener: what is too long is not the runtime's to say.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    idleTimeout: 10,
    fetch: createPlainPort(options(more)),
  });
  return {
    port: server.port ?? 0,
    send: (bytes: string) => exchange(server.port ?? 0, bytes),
    /** A GET of the target with a Host: its status and Location. */
    async redirect(target: string, host?: string): Promise<[number, string | undefined]> {
      const line = host === undefined ? "" : `Host: ${host}\r\n`;
      const answer = await exchange(
        server.port ?? 0,
        `GET ${target} HTTP/1.${line === "" ? 0 : 1}\r\n${line}\r\n`,
      );
      return [answer.status, answer.headers["location"]];
    },
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}

interface Answer {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** Writes bytes and reads until the server has closed the connection. */
function exchange(port: number, bytes: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes));
    let received = "";
    socket.setEncoding("latin1");
    socket.on("data", (data: string) => (received += data));
    socket.once("error", reject);
    socket.once("close", () => {
      const [head = "", body = ""] = received.split("\r\n\r\n");
      const [status = "", ...lines] = head.split("\r\n");
      const headers = Object.fromEntries(
        lines.map((line) => [line.split(":")[0]?.toLowerCase(), line.slice(line.indexOf(":") + 2)]),
      );
      resolve({ status: Number(status.split(" ")[1]), headers, body });
    });
  });
}

describe("The plain port", () => {
  test("sends everything to the same path and query on HTTPS, and closes the connection", async () => {
    await using port = plainPort();
    const answer = await port.send("GET /v1/models?a=%20b&c#d HTTP/1.1\r\nHost: www.example.com\r\n\r\n");
    expect(answer).toMatchObject({
      status: 308,
      body: "Use HTTPS: https://www.example.com\n",
      headers: { location: "https://www.example.com/v1/models?a=%20b&c", connection: "close" },
    });
    expect(answer.headers).not.toContainKey("strict-transport-security");
    expect(await port.redirect("/v1/models/org%2Fname", "relay.example.com")).toEqual([
      308,
      "https://relay.example.com/v1/models/org%2Fname",
    ]);
  });

  test("names the port where HTTPS is not on 443", async () => {
    await using port = plainPort({ httpsPort: 8443, domains: ["fd00::1", "192.168.1.5", "box"] });
    expect(await port.redirect("/", "box:8080")).toEqual([308, "https://box:8443/"]);
    expect(await port.redirect("/", "[fd00::1]:80")).toEqual([308, "https://[fd00::1]:8443/"]);
    expect(await port.redirect("/", "192.168.1.5")).toEqual([308, "https://192.168.1.5:8443/"]);
    expect(await port.redirect("/", "127.0.0.1")).toEqual([308, "https://[fd00::1]:8443/"]);
  });

  test("keeps the method of a POST, and reads no body of it", async () => {
    await using port = plainPort();
    for (const length of ["Content-Length: 1000000000", "Transfer-Encoding: chunked"]) {
      const sent = `POST /v1/chat/completions HTTP/1.1\r\nHost: relay.example.com\r\n${length}\r\n\r\n5\r\nab`;
      const { status, headers } = await port.send(sent);
      expect([status, headers["location"]]).toEqual([308, "https://relay.example.com/v1/chat/completions"]);
    }
  });

  test("redirects to no name but its own, however the Host and the request line are forged", async () => {
    await using port = plainPort();
    const to = async (target: string, host?: string) => (await port.redirect(target, host))[1];
    for (const host of [
      undefined,
      "",
      "evil.example",
      "evil.example:80",
      "127.0.0.1",
      "[::1]:80",
      "relay.example.com.evil.example",
      "evil.example/relay.example.com",
      "relay.example.com@evil.example",
      "user:relay.example.com",
      "relay.example.com\\.evil.example",
      "relay.example.com#",
      "relay.example.com:443:443",
      "a".repeat(10_000),
    ]) {
      expect({ host, to: await to("/x?y", host) }).toEqual({ host, to: "https://relay.example.com/x?y" });
    }
    expect(await to("/x", "WWW.Example.COM.:8080")).toBe("https://www.example.com/x");
    expect(await to("http://evil.example/x", "www.example.com")).toBe("https://www.example.com/x");
    const doubled = "GET /x HTTP/1.1\r\nHost: www.example.com\r\nHost: evil.example\r\n\r\n";
    expect((await port.send(doubled)).headers["location"]).toBe("https://relay.example.com/x");
  });

  test("refuses paths that lead elsewhere when they stand behind a name", async () => {
    await using port = plainPort();
    for (const target of [
      "//evil.example",
      "/\\evil.example",
      "/x//y",
      "/x%2f%2e%2e/y",
      "http://a//evil.example/",
      "@x",
    ])
      for (const host of ["relay.example.com", "bad host"]) {
        const [status, location] = await port.redirect(target, host);
        expect({ target, host, refused: status >= 400 && status < 500, location }).toEqual({
          target,
          host,
          refused: true,
          location: undefined,
        });
      }
    const connected = await port.send("CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n");
    expect(connected.status).toBe(400);
  });

  test("tells a worker, whose WebSocket follows no redirect, what to dial", async () => {
    await using port = plainPort({ httpsPort: 8443 });
    const { status, body } = await port.send(
      "GET /v1/worker/connect HTTP/1.1\r\nHost: relay.example.com\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    expect([status, body]).toEqual([308, "Use HTTPS: PROXY_URL=https://relay.example.com:8443\n"]);
  });

  test("covers the names of a wildcard, and says what to use where it has no name of its own", async () => {
    await using port = plainPort({ domains: ["*.example.com"] });
    expect(await port.redirect("/", "a.example.com")).toEqual([308, "https://a.example.com/"]);
    for (const host of ["example.com", "a.b.example.com", ".example.com", "aexample.com"])
      expect([host, ...(await port.redirect("/", host))]).toEqual([host, 400, undefined]);
    await using bare = plainPort({ domains: [] });
    expect((await bare.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")).body).toBe(
      "Only HTTPS is served here, on port 443\n",
    );
  });
});

describe("The plain port's challenges", () => {
  const path = "/.well-known/acme-challenge/";

  test("are answered with the key authorization alone, whatever the Host", async () => {
    await using port = plainPort();
    for (const host of ["relay.example.com", "other.example.com", "127.0.0.1"]) {
      const answer = await port.send(`GET ${path}DGyRejmCefe7v4NfDGDKfA HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      expect(answer).toMatchObject({
        status: 200,
        body: KEY,
        headers: { "content-type": "application/octet-stream", "content-length": String(KEY.length) },
      });
    }
  });

  test("that nobody asked for are 404, and no odd token reaches the store", async () => {
    const asked: string[] = [];
    await using port = plainPort({
      async challenge(token) {
        asked.push(token);
        return undefined;
      },
    });
    for (const token of [
      "",
      "a/b",
      "..%2f..%2faccount",
      "a.b",
      "a%00",
      "a b",
      "a".repeat(129),
      "%41",
      "a+b==",
    ]) {
      const { status } = await port.send(`GET ${path}${token} HTTP/1.1\r\nHost: relay.example.com\r\n\r\n`);
      expect([token, status >= 400]).toEqual([token, true]);
    }
    expect(asked).toEqual([]);
    const unknown = await port.send(`GET ${path}abc HTTP/1.1\r\nHost: relay.example.com\r\n\r\n`);
    expect([unknown.status, unknown.body]).toEqual([
      404,
      "No certificate is being ordered with this token: modelrelay answers here\n",
    ]);
    expect(asked).toEqual(["abc"]);
  });

  test("are read with GET, and a store that fails is 500 and in the log", async () => {
    const errors: unknown[] = [];
    const log = {
      verbose: false,
      error: (message: string, fields?: object) => void errors.push([message, fields]),
      warn() {},
      info() {},
      debug() {},
      often() {},
    };
    await using port = plainPort({
      challenge: () => Promise.reject(new Error("disk gone")),
      log,
    });
    const post = await port.send(`POST ${path}abc HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`);
    expect([post.status, post.headers["allow"], errors]).toEqual([405, "GET, HEAD", []]);
    const get = await port.send(`GET ${path}abc HTTP/1.1\r\nHost: a\r\n\r\n`);
    expect([get.status, get.body]).toEqual([500, "The answer to this challenge could not be read\n"]);
    expect(errors).toEqual([["A challenge could not be read", { reason: "disk gone" }]]);
  });
});
