import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { startBackend } from "../../bench/backend.ts";
import { encodeQuestion } from "../../bench/completion.ts";
import { CHAT } from "../contract/promise.ts";
import { runProgram } from "../e2e/program.ts";
import { END_HEADERS, END_STREAM, frame, head, PREFACE, request, TYPE } from "../faults/h2-frames.ts";
import { lacksPart, requirePart } from "../support/parts.ts";
import { startSecureRelay, type SecureRelay } from "./rig.ts";

let backend: ReturnType<typeof startBackend>;
let relay: SecureRelay;
let dir: string;
beforeAll(async () => {
  backend = startBackend(0);
  relay = await startSecureRelay({ args: ["--http3"], backendUrl: backend.url.origin });
  dir = mkdtempSync(join(tmpdir(), "modelrelay-load-"));
});
afterAll(async () => {
  await relay[Symbol.asyncDispose]();
  await backend.stop(true);
  rmSync(dir, { recursive: true });
});

/** What the relay may hold more after a load than after the same load before. */
const GROWTH_MIB = 64;

describe("The executable under load", () => {
  test.skipIf(lacksPart("h2load"))(
    "answers 10,000 requests of h2load over HTTP/2, 640 at once, and holds no more memory for having done so",
    async () => {
      writeFileSync(join(dir, "question.json"), encodeQuestion({}, false, 300));
      const load = async () => {
        const { stdout } = await runProgram([
          requirePart("h2load"),
          "--requests=10000",
          "--clients=10",
          "--max-concurrent-streams=64",
          `--data=${join(dir, "question.json")}`,
          "--header=content-type: application/json",
          relay.url + CHAT,
        ]);
        expect(stdout).toContain("10000 succeeded, 0 failed, 0 errored, 0 timeout");
        expect(stdout).toContain("status codes: 10000 2xx");
        await relay.idle();
        // The connections that asked last are closed a moment after they were answered.
        while (relay.use().files > files) await Bun.sleep(10);
        return relay.use().memoryMiB;
      };
      const { files } = relay.use();
      const first = await load();
      const second = await load();
      expect(second - first).toBeLessThan(GROWTH_MIB);
    },
  );

  test("gives up at the worker what a client of HTTP/2 takes back at once, 20,000 times, and serves others", async () => {
    const question = encodeQuestion({ tokens: 1_000, intervalMs: 100 }, true, 300);
    const cancel = Buffer.of(0, 0, 0, 8);
    const before = relay.use();
    let sent = 0;
    while (sent < 20_000) {
      const socket = connect({ port: relay.port, host: "127.0.0.1", ca: relay.caPem, ALPNProtocols: ["h2"] });
      socket.on("error", () => {});
      await once(socket, "secureConnect");
      socket.resume().write(PREFACE);
      // A connection that does nothing else is closed after some hundreds of these.
      for (let stream = 1; stream < 1_600 && !socket.destroyed; stream += 2) {
        const asked = Buffer.concat([
          head([...request("POST", CHAT), ["content-type", "application/json"]], END_HEADERS, stream),
          frame(TYPE.data, END_STREAM, stream, question),
          frame(TYPE.reset, 0, stream, cancel),
        ]);
        if (!socket.write(asked)) await Promise.race([once(socket, "drain"), once(socket, "close")]);
        sent += 1;
      }
      socket.destroy();
      expect((await relay.fetch("/livez")).status).toBe(200);
    }
    await relay.idle();
    expect(relay.use().memoryMiB - before.memoryMiB).toBeLessThan(2 * GROWTH_MIB);
  });

  test.skipIf(lacksPart("aioquic"))(
    "does over HTTP/3 what aioquic, which shares no code with it, asks for: streams, uploads, cancellation, no early data",
    async () => {
      const { stdout, stderr, code } = await runProgram([
        requirePart("aioquic"),
        join(import.meta.dir, "http3_client.py"),
        String(relay.port),
        relay.caFile,
      ]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(JSON.parse(stdout)).toEqual({
        statuses: [200],
        wholeStreams: 150,
        longestGapIsShort: true,
        uploaded: 16 * 1024 * 1024,
        inFlightAfterCancel: 0,
        resumed: true,
        earlyData: false,
        amplification: "below 3",
      });
    },
  );
});
