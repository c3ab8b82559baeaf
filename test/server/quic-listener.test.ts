import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { silentLog } from "../../src/base/log.ts";
import { listen, type ListenerHandlers } from "../../src/server/listener.ts";
import { listenOnQuic, type QuicListener } from "../../src/server/quic-listener.ts";
import { makeCertificate, type TestCertificate } from "../support/certificates.ts";
import { ManualClock } from "../support/manual-clock.ts";

const SEND_LIMIT = 1024 * 1024;
const first = makeCertificate();
const second = makeCertificate();
const opened: { stop(): Promise<void> }[] = [];
afterAll(() => Promise.all(opened.map((listener) => listener.stop())));

/** A free UDP port, found by asking for one. */
function freePort(): number {
  const probe = listen(
    { host: "127.0.0.1", port: 0 },
    SEND_LIMIT,
    handlersOf(() => new Response()),
    { secure: { identities: [first], carrier: "quic", http2: false } },
  );
  void probe.stop();
  return probe.port;
}

function handlersOf(request: () => Response): ListenerHandlers {
  return {
    request,
    socket: () => {
      throw new Error("no worker was expected");
    },
  };
}

function open(port: number, clock: ManualClock, request: () => Response): QuicListener {
  const address = { host: "127.0.0.1", port };
  const listener = listenOnQuic(address, SEND_LIMIT, handlersOf(request), [first], { clock, log: silentLog });
  opened.push(listener);
  return listener;
}

function ask(port: number): Promise<Response> {
  return fetch(`https://127.0.0.1:${port}/`, { protocol: "http3", tls: { rejectUnauthorized: false } });
}

/** What a client gets that trusts one certificate alone. Over HTTP/3, Bun takes none from the request's own options. */
async function askTrusting({ chainPem }: TestCertificate, port: number): Promise<string> {
  const file = join(mkdtempSync(join(tmpdir(), "modelrelay-quic-")), "ca.pem");
  writeFileSync(file, chainPem);
  const script = `
    const response = await fetch("https://127.0.0.1:${port}/", { protocol: "http3" }).catch((error) => error.code);
    console.log(typeof response === "string" ? response : await response.text());`;
  const client = Bun.spawn([process.execPath, "-e", script], {
    env: { ...process.env, NODE_EXTRA_CA_CERTS: file },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const text = await new Response(client.stdout).text();
  rmSync(dirname(file), { recursive: true });
  return text.trim();
}

describe("A listener for HTTP/3", () => {
  test("serves the new certificate once it has one", async () => {
    const port = freePort();
    const listener = open(port, new ManualClock(), () => new Response("hello"));
    const seen = [await askTrusting(first, port), await askTrusting(second, port)];
    listener.replace([second]);
    seen.push(await askTrusting(first, port), await askTrusting(second, port));
    const refused = "HTTP3HandshakeFailed";
    expect(seen).toEqual(["hello", refused, refused, "hello"]);
  });

  test("waits for the end of a stream before it changes, and invites nobody meanwhile", async () => {
    const port = freePort();
    const clock = new ManualClock();
    let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
    const listener = open(port, clock, () => {
      const start = (given: ReadableStreamDefaultController<Uint8Array>) => {
        controller = given;
        given.enqueue(Buffer.from("begun "));
      };
      return new Response(new ReadableStream({ start }));
    });
    const response = await ask(port);
    const invited = [listener.inviting];
    listener.replace([second]);
    clock.advance(60_000);
    invited.push(listener.inviting);
    controller?.enqueue(Buffer.from("ended"));
    controller?.close();
    expect(await response.text()).toBe("begun ended");
    while (!listener.inviting) {
      clock.advance(1_000);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(invited).toEqual([true, false]);
    expect((await ask(port)).status).toBe(200);
  });
});
