import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import {
  createServer as createPlainServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { Problem } from "../../src/base/errors.ts";
import { Releases } from "../../src/update/releases.ts";
import { TempDir } from "../commands/reading.ts";
import { runProgram } from "../e2e/program.ts";
import { makeCertificate } from "../support/certificates.ts";
import { ManualClock } from "../support/manual-clock.ts";

const CLI = [process.execPath, new URL("../../src/cli.ts", import.meta.url).pathname];

/** A server of the test's own. */
async function listening(server: Server): Promise<AsyncDisposable & { port: number }> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const plain = (handle: RequestListener) => listening(createPlainServer(handle));

const check = (address: string, env: Record<string, string> = {}) =>
  runProgram([...CLI, "update", "--check", "--base-url", address], { env });

describe("A release address", () => {
  test("that falls silent is given up after a minute", async () => {
    const asked = Promise.withResolvers<void>();
    await using server = await plain((_, response) => {
      response.writeHead(200, { "content-length": 10 });
      response.write("1.2");
      asked.resolve();
    });
    const clock = new ManualClock();
    const { signal } = new AbortController();
    const releases = new Releases(`http://127.0.0.1:${server.port}`, { clock, signal });
    const failed = releases.newest().catch((error: unknown) => error);
    await asked.promise;
    clock.advance(59_999);
    clock.advance(60_000);
    const problem = (await failed) as Problem;
    expect(problem).toBeInstanceOf(Problem);
    expect(problem.message).toBe(`Cannot download ${releases.base}/latest.txt: nothing came for 60 s`);
    expect(clock.pending).toEqual([]);
  });

  test("may be slow, as long as bytes come", async () => {
    const begun = Promise.withResolvers<ServerResponse>();
    await using server = await plain((_, response) => {
      response.writeHead(200, { "content-length": 6 });
      response.flushHeaders();
      begun.resolve(response);
    });
    using dir = new TempDir();
    const clock = new ManualClock();
    const { signal } = new AbortController();
    const releases = new Releases(`http://127.0.0.1:${server.port}`, { clock, signal });
    await using file = await open(join(dir.path, "archive"), "wx");
    const sum = createHash("sha256").update("abcdef").digest("hex");
    let came = Promise.withResolvers<number>();
    const done = releases.download({ version: "1.0.0", name: "a.tar.gz", sum }, file, (received) =>
      came.resolve(received),
    );
    const response = await begun.promise;
    for (const [index, letter] of "abcdef".split("").entries()) {
      clock.advance(40_000);
      came = Promise.withResolvers();
      response.write(letter);
      expect(await came.promise).toBe(index + 1);
    }
    response.end();
    await done;
    expect(clock.pending).toEqual([]);
  });

  test("may hold a name and a password, which only its server sees", async () => {
    const seen: (string | undefined)[] = [];
    await using server = await plain(({ headers }, response) => {
      seen.push(headers.authorization);
      response.writeHead(403).end();
    });
    const { stderr, code } = await check(`http://ada:s3cret@127.0.0.1:${server.port}/files`);
    expect(seen).toEqual([`Basic ${btoa("ada:s3cret")}`]);
    expect([stderr.split("\n")[0], code]).toEqual([
      `error: Cannot download http://…@127.0.0.1:${server.port}/files/latest.txt: the server answers with HTTP status 403`,
      69,
    ]);
    expect(stderr).not.toContain("s3cret");
  });

  test("is reached through the proxy that the environment names", async () => {
    const seen: (string | undefined)[] = [];
    await using proxy = await plain(({ url }: IncomingMessage, response) => {
      seen.push(url);
      response.end("0.0.1\n");
    });
    const { stdout, code } = await check("http://releases.example/x", {
      HTTP_PROXY: `http://127.0.0.1:${proxy.port}`,
    });
    expect([seen, code]).toEqual([["http://releases.example/x/latest.txt"], 0]);
    expect(stdout).toContain("newer than the newest release, 0.0.1");
  });

  test("of https is verified, by the system's authorities and those of NODE_EXTRA_CA_CERTS", async () => {
    using dir = new TempDir();
    const authority = makeCertificate({ names: ["Test CA"], authority: true });
    const { chainPem, keyPem } = makeCertificate({ issuer: authority });
    const ca = dir.write("ca.pem", authority.chainPem);
    await using target = await plain((_, response) => response.end("900.0.0\n"));
    await using server = await listening(
      createServer({ cert: chainPem, key: keyPem }, ({ url }, response) => {
        if (url?.startsWith("/moved/") === true)
          response.writeHead(302, { location: `http://127.0.0.1:${target.port}/latest.txt` }).end();
        else response.end("900.0.0\n");
      }),
    );
    const base = `https://127.0.0.1:${server.port}`;
    const trusted = { NODE_EXTRA_CA_CERTS: ca };
    const [stranger, known, downgraded] = await Promise.all([
      check(base),
      check(base, trusted),
      check(`${base}/moved`, trusted),
    ]);
    expect(stranger.code).toBe(69);
    expect(stranger.stderr).toMatch(/^error: Cannot download https:\S+\/latest\.txt: .*certificate/);
    expect([known.code, known.stdout.slice(0, 27)]).toEqual([1, "modelrelay 900.0.0 is there"]);
    expect([downgraded.code, downgraded.stdout]).toEqual([69, ""]);
    expect(downgraded.stderr).toContain(
      `Cannot download ${base}/moved/latest.txt: it leads to http://127.0.0.1:${target.port}/latest.txt, which is not encrypted\n`,
    );
  });

  test("whose archive has an encoding gives its bytes as they are", async () => {
    const bytes = Bun.gzipSync("the archive");
    const sum = createHash("sha256").update(bytes).digest("hex");
    await using server = await plain((_, response) =>
      response.writeHead(200, { "content-encoding": "gzip" }).end(bytes),
    );
    using dir = new TempDir();
    const { signal } = new AbortController();
    const releases = new Releases(`http://127.0.0.1:${server.port}`, { clock: new ManualClock(), signal });
    const path = join(dir.path, "archive");
    await using file = await open(path, "wx");
    const told: number[] = [];
    await releases.download({ version: "1.0.0", name: "a.tar.gz", sum }, file, (received) =>
      told.push(received),
    );
    expect(await Bun.file(path).bytes()).toEqual(bytes);
    expect(told.at(-1)).toBe(bytes.length);
  });
});
