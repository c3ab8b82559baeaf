import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { HttpClient } from "../../../src/worker/http/http-client.ts";
import { makeCertificate, type TestCertificate } from "../../support/certificates.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { allOf, Asked, listen } from "./asked.ts";

let dir = "";
let authority: TestCertificate;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "modelrelay-http-"));
  authority = makeCertificate({ names: ["authority"], authority: true });
  writeFileSync(join(dir, "ca.pem"), authority.chainPem);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A backend that answers with the length of what it was sent. */
function serve(certificate: TestCertificate) {
  const asked: number[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    tls: { key: certificate.keyPem, cert: certificate.chainPem },
    async fetch(request) {
      const { byteLength } = await request.arrayBuffer();
      asked.push(byteLength);
      return new Response(String(byteLength));
    },
  });
  return { asked, port: server.port ?? 0, [Symbol.asyncDispose]: () => server.stop(true) };
}

/** A server that never ends a handshake. */
async function serveNothing() {
  const hello = Promise.withResolvers<string>();
  const closed = Promise.withResolvers<void>();
  const server = await listen((socket) => {
    socket.once("data", (data: Buffer) => hello.resolve(data.toString("latin1")));
    void allOf(socket).then(() => closed.resolve());
  });
  return {
    port: server.origin.port,
    /** What the client begins with. */
    hello: hello.promise,
    closed: closed.promise,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

async function askedByChild(addresses: string[], bytes = 1_000_000): Promise<string[]> {
  const script = join(import.meta.dir, "trusting-child.ts");
  const child = Bun.spawn([process.execPath, script, String(bytes), ...addresses], {
    env: { ...process.env, NODE_EXTRA_CA_CERTS: join(dir, "ca.pem") },
    stdout: "pipe",
    stderr: "inherit",
  });
  const said = await new Response(child.stdout).text();
  expect(await child.exited).toBe(0);
  return said.trimEnd().split("\n");
}

describe("TLS backend", () => {
  test("with a certificate of its own making is refused, and sent nothing", async () => {
    await using server = serve(makeCertificate());
    const client = new HttpClient(new URL(`https://127.0.0.1:${server.port}`), systemClock);
    const { error } = await new Asked(client).outcome;
    expect(error?.words).toBe("its certificate is self-signed, so that no authority vouches for it");
    expect(server.asked).toEqual([]);
  });

  test("is asked under its name and its address if its authority is trusted", async () => {
    await using server = serve(makeCertificate({ issuer: authority }));
    const addresses = [`https://localhost:${server.port}`, `https://127.0.0.1:${server.port}`];
    expect(await askedByChild(addresses)).toEqual(["1000000", "1000000"]);
  }, 20_000);

  test("is refused under another name, and sent nothing", async () => {
    await using server = serve(makeCertificate({ names: ["other.example"], issuer: authority }));
    const said = await askedByChild([`https://localhost:${server.port}`, `https://127.0.0.1:${server.port}`]);
    const words = "its certificate is for another name than the name that was asked for";
    expect(said).toEqual([words, words]);
    expect(server.asked).toEqual([]);
  }, 20_000);

  test("is told the name by which it is asked for, and no address", async () => {
    for (const [host, told] of [
      ["localhost", true],
      ["127.0.0.1", false],
    ] as const) {
      await using server = await serveNothing();
      const asked = new Asked(new HttpClient(new URL(`https://${host}:${server.port}`), systemClock));
      expect((await server.hello).includes(host)).toBe(told);
      asked.cancel();
    }
  });

  test("is refused under another address, and sent nothing", async () => {
    await using server = serve(makeCertificate({ names: ["localhost"], issuer: authority }));
    const said = await askedByChild([`https://127.0.0.1:${server.port}`]);
    expect(said).toEqual(["its certificate is for another name than the name that was asked for"]);
    expect(server.asked).toEqual([]);
  }, 20_000);

  test("that has expired is refused", async () => {
    const day = 86_400_000;
    const notBefore = Date.now() - 10 * day;
    await using server = serve(makeCertificate({ issuer: authority, notBefore, notAfter: notBefore + day }));
    expect(await askedByChild([`https://localhost:${server.port}`])).toEqual(["its certificate has expired"]);
  }, 20_000);

  test("that speaks no TLS is told from one that is not there", async () => {
    await using server = await listen((socket) =>
      socket.once("data", () => socket.write("HTTP/1.1 400 X\r\n")),
    );
    const asked = new Asked(new HttpClient(new URL(`https://${server.origin.host}`), systemClock));
    expect((await asked.outcome).error?.words).toStartWith("it does not speak TLS on this port");
  });

  test("that never ends its handshake is given up after 10 s", async () => {
    await using server = await serveNothing();
    const clock = new ManualClock();
    const asked = new Asked(new HttpClient(new URL(`https://127.0.0.1:${server.port}`), clock));
    await server.hello;
    clock.advance(10_000);
    expect((await asked.outcome).error).toEqual({ code: "ETIMEDOUT", words: "no answer in time" });
    await server.closed;
  });

  test("that asks for a second handshake gets no second request", async () => {
    const certificate = makeCertificate({ issuer: authority });
    writeFileSync(join(dir, "leaf.pem"), certificate.chainPem + certificate.keyPem);
    // Its states come on its standard error.
    const command = `exec openssl s_server -accept 127.0.0.1:0 -cert ${join(dir, "leaf.pem")} -tls1_2 -state -naccept 1 2>&1`;
    const server = Bun.spawn(["sh", "-c", command], { stdin: "pipe", stdout: "pipe", stderr: "ignore" });
    try {
      let said = "";
      const reader = server.stdout.getReader();
      const times = (words: string): number => said.split(words).length - 1;
      const until = async (words: string, count = 1): Promise<void> => {
        while (times(words) < count) {
          const { value, done } = await reader.read();
          if (done) throw new Error(`It has ended before it said ${words}`);
          said += Buffer.from(value).toString("latin1");
        }
      };
      const say = async (words: string): Promise<void> => {
        void server.stdin.write(words);
        await server.stdin.flush();
      };
      await until("ACCEPT 127.0.0.1:");
      const port = /ACCEPT \S+:(\d+)/.exec(said)?.[1];
      const child = askedByChild([`https://localhost:${port}`], 0);
      await until("content-length: 0");
      await say("r\n");
      await until("write finished", 2);
      await say("HTTP/1.1 200 OK\ncontent-length: 3\n\nabc\n");
      expect(await child).toEqual(["abc"]);
      // It ends with the connection, of which it has read everything then.
      for (let next = await reader.read(); !next.done; next = await reader.read())
        said += Buffer.from(next.value).toString("latin1");
      expect(times("POST ")).toBe(1);
    } finally {
      server.kill();
    }
  }, 20_000);

  test("is left at once when the call is cancelled during the handshake", async () => {
    await using server = await serveNothing();
    const clock = new ManualClock();
    const asked = new Asked(new HttpClient(new URL(`https://127.0.0.1:${server.port}`), clock));
    await server.hello;
    asked.cancel();
    await server.closed;
    expect([asked.late, clock.pending]).toEqual([0, []]);
  });
});
