import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import { startNumberedBackend } from "../support/numbered-backend.ts";
import { lacksPart } from "../support/parts.ts";
import {
  A,
  B,
  clientOf,
  connected,
  http3ClientOf,
  renew,
  serveDomains,
  shown,
  startAuthority,
  startTlsWorker,
  waitFor,
  type Authority,
  type TlsRelay,
} from "./tls-relay.ts";

const NO_CA = lacksPart("pebble", "pebbleChallengeServer");

/** A connection that stays, for one request after the other. */
class KeptConnection implements Disposable {
  readonly #socket: TLSSocket;
  #text = "";
  #wake = Promise.withResolvers<void>();

  private constructor(socket: TLSSocket) {
    this.#socket = socket;
    const wake = () => {
      this.#wake.resolve();
      this.#wake = Promise.withResolvers();
    };
    socket.on("error", () => {});
    socket.on("close", wake);
    socket.on("data", (data: Buffer) => {
      this.#text += data.toString();
      wake();
    });
  }

  static open(port: number, ca: string): Promise<KeptConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: "127.0.0.1", port, servername: A, ca }, () =>
        resolve(new KeptConnection(socket)),
      );
      socket.once("error", reject);
    });
  }

  get serial(): string {
    return this.#socket.getPeerCertificate().serialNumber.toLowerCase();
  }

  /** The head of the answer to a small request; empty if the connection has ended. */
  async ask(): Promise<string> {
    this.#text = "";
    this.#socket.write(`GET /v1/models HTTP/1.1\r\nHost: ${A}\r\n\r\n`);
    while (!this.#text.endsWith("[]}") && !this.#socket.destroyed) await this.#wake.promise;
    return this.#text.slice(0, this.#text.indexOf("\r\n\r\n"));
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

describe.skipIf(NO_CA)("A renewal", () => {
  let authority: Authority;
  beforeAll(async () => {
    authority = await startAuthority();
  });
  afterAll(() => authority[Symbol.asyncDispose]());

  /** @param meanwhile looks at the relay while the streams run, after the last renewal */
  async function holdStreams(
    relay: TlsRelay,
    protocols: ("http1.1" | "http2" | "http3")[],
    meanwhile: () => Promise<void> = async () => {},
  ): Promise<void> {
    await using backend = startNumberedBackend();
    await using worker = startTlsWorker(relay, backend.url, [
      "--ca-file",
      authority.rootFile,
      "--max-concurrency",
      "16",
    ]);
    await connected(worker);
    const client = clientOf(relay, authority.rootPem);
    let ended = 0;
    const reading = protocols.map(async (protocol, index) => {
      const send = protocol === "http3" ? http3ClientOf(relay) : client;
      const response = await send("/v1/chat/completions", {
        method: "POST",
        protocol,
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ model: "numbers", messages: [], stream: true, user: `user ${index}` }),
      });
      const text = await response.text().finally(() => ended++);
      return { status: response.status, text };
    });
    // What fails here first is the news; streams that go down with the relay are not.
    const answered = Promise.allSettled(reading);
    await waitFor("the streams", async () => backend.streams === protocols.length);

    const serials = [(await shown(relay.httpsPort, A)).serial];
    for (let round = 1; round <= 3; round++) serials.push(await renew(relay, A));
    expect(new Set(serials).size).toBe(4);
    await meanwhile();
    expect(ended).toBe(0);

    backend.finish();
    await answered;
    const answers = await Promise.all(reading);
    for (const [index, { status, text }] of answers.entries()) {
      const sent = backend.sent(`user ${index}`);
      expect(sent).toEndWith("data: [DONE]\n\n");
      expect(status).toBe(200);
      // Not with toBe: a difference would print megabytes.
      expect({ index, bytes: text.length, equal: text === sent }).toEqual({
        index,
        bytes: sent.length,
        equal: true,
      });
    }
    expect(worker.stderr.match(/Connected to the relay/g)).toHaveLength(1);
    expect(worker.stderr).not.toContain("Lost the link");
    const models = await client("/v1/models");
    expect(await models.json()).toMatchObject({ data: [{ id: "numbers" }] });
  }

  test("cuts none of ten streams nor the worker's link, three times in a row, and is seen at once each time", async () => {
    await using relay = await serveDomains(authority, [A, B]);
    const other = await shown(relay.httpsPort, B);
    await holdStreams(relay, [...Array(6).fill("http1.1"), ...Array(4).fill("http2")]);
    expect((await shown(relay.httpsPort, B)).serial).toBe(other.serial);
  });

  test("is the relay's own doing when one is due, and leaves nothing that keeps it from stopping", async () => {
    await using relay = await serveDomains(authority, [A]);
    await using backend = startNumberedBackend();
    await using worker = startTlsWorker(relay, backend.url, ["--ca-file", authority.rootFile]);
    await connected(worker);
    const orders = authority.pebble.orderCount();
    const before = await shown(relay.httpsPort, A);
    using kept = await KeptConnection.open(relay.httpsPort, authority.rootPem);
    const file = join(relay.dataDir, "tls", A, "state.json");
    const state = JSON.parse(readFileSync(file, "utf8")) as { renewAt: number };
    expect(state.renewAt).toBeGreaterThan(Date.now());
    writeFileSync(file, JSON.stringify({ ...state, renewAt: Date.now() - 1_000 }));
    relay.reload();
    await relay.program.until(/Renewing the certificate domain=a\.localhost/);
    await waitFor("a new serial", async () => (await shown(relay.httpsPort, A)).serial !== before.serial);
    expect(authority.pebble.orderCount()).toBe(orders + 1);
    expect(kept.serial).toBe(before.serial);
    relay.program.kill("SIGTERM");
    expect(await relay.program.exited).toBe(0);
  });

  test("lets a connection that is open go on with its certificate, and asks it to leave after its next answer", async () => {
    await using relay = await serveDomains(authority, [A]);
    using kept = await KeptConnection.open(relay.httpsPort, authority.rootPem);
    const before = kept.serial;
    expect(await kept.ask()).toMatch(/^HTTP\/1\.1 200 (?![^]*connection: close)/i);
    const serial = await renew(relay, A);
    expect(kept.serial).toBe(before);
    expect(serial).not.toBe(before);
    expect(await kept.ask()).toMatch(/^HTTP\/1\.1 200 [^]*connection: close/i);
    using next = await KeptConnection.open(relay.httpsPort, authority.rootPem);
    expect(next.serial).toBe(serial);
  });

  test("goes by without a stream over HTTP/3 being cut, while alt-svc is not said, and new ones come after it", async () => {
    await using relay = await serveDomains(authority, [A], { args: ["--http3"] });
    const client = clientOf(relay, authority.rootPem);
    const invitation = async () => (await client("/health")).headers.get("alt-svc");
    expect(await invitation()).toBe(`h3=":${relay.httpsPort}"; ma=86400`);
    const over3 = http3ClientOf(relay);
    expect((await over3("/v1/models")).status).toBe(200);
    const protocols = [...Array(5).fill("http3"), ...Array(3).fill("http1.1"), ...Array(2).fill("http2")];
    await holdStreams(relay, protocols, async () => expect(await invitation()).toBeNull());
    await waitFor("the invitation to HTTP/3", async () => (await invitation()) !== null);
    expect((await over3("/v1/models")).status).toBe(200);
  });

  test("refuses none of the handshakes that go on across ten of them", async () => {
    await using relay = await serveDomains(authority, [A]);
    const run = { handshakes: 0, over: false };
    const failures: string[] = [];
    const serials = new Set<string>();
    async function knock(): Promise<void> {
      while (!run.over) {
        try {
          using connection = await KeptConnection.open(relay.httpsPort, authority.rootPem);
          serials.add(connection.serial);
          run.handshakes++;
        } catch (error) {
          failures.push(String(error));
        }
      }
    }
    const knocking = Array.from({ length: 4 }, knock);
    for (let round = 0; round < 10; round++) await renew(relay, A);
    run.over = true;
    await Promise.all(knocking);
    expect(failures).toEqual([]);
    expect(serials.size).toBe(11);
    expect(run.handshakes).toBeGreaterThan(100);
  });
});
