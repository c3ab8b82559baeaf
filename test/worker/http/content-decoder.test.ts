import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { describeNetworkError } from "../../../src/base/network-error.ts";
import { contentDecoder } from "../../../src/worker/http/content-decoder.ts";
import { Random } from "../../fuzz/random.ts";
import { startFakeBackend, type Exchange } from "../../support/fake-backend.ts";
import { pulledBackend } from "../../support/pulled-backend.ts";

type Codec = [coding: string, pack: (bytes: Uint8Array) => Uint8Array];

const CODECS: Codec[] = [
  ["gzip", gzipSync],
  ["X-GZip", gzipSync],
  ["deflate", deflateSync],
  ["br", brotliCompressSync],
  ["zstd", zstdCompressSync],
];
const TEXT = Buffer.from('data: {"token":"hello"}\n\n'.repeat(5_000));
/** Random bytes, so that no part of what stands for them can be missed. */
const NOISE = new Random(7).bytes(400_000);

/** A decoder with all that it told. */
function decoding(coding: string) {
  const parts: Uint8Array[] = [];
  const over = Promise.withResolvers<string>();
  const full = Promise.withResolvers<void>();
  const free = Promise.withResolvers<void>();
  const decoder = contentDecoder(coding, {
    body: (bytes) => void parts.push(bytes),
    end: () => over.resolve("end"),
    failed: (error) => over.resolve(describeNetworkError(error)),
    full: () => full.resolve(),
    free: () => free.resolve(),
  });
  if (decoder === undefined) throw new Error(`No decoder for ${coding}`);
  const text = () => Buffer.concat(parts);
  return { decoder, text, over: over.promise, full: full.promise, free: free.promise };
}

async function decoded(coding: string, pieces: Iterable<Uint8Array>) {
  const { decoder, text, over } = decoding(coding);
  for (const piece of pieces) decoder.push(piece);
  decoder.end();
  return { end: await over, text: text() };
}

function split(bytes: Uint8Array, size: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
  return pieces;
}

describe.each(CODECS)("Body in %s", (coding, pack) => {
  test("is the same whole, in pieces and in single bytes", async () => {
    const packed = pack(TEXT);
    for (const size of [packed.length, 100, 1])
      expect(await decoded(coding, split(packed, size))).toEqual({ end: "end", text: TEXT });
    expect((await decoded(coding, split(pack(NOISE), 9_000))).text.equals(NOISE)).toBe(true);
  });

  test("is told as far as it has come", async () => {
    const { decoder, text, full, free } = decoding(coding);
    const packed = pack(NOISE);
    decoder.push(packed.subarray(0, packed.length - 1));
    await full;
    await free;
    expect(text().length).toBeGreaterThan(NOISE.length / 2);
    decoder.stop();
  });

  test("that is cut short is an error, wherever that is", async () => {
    for (const bytes of [TEXT, NOISE]) {
      const packed = pack(bytes);
      for (const length of [1, 3, 5, packed.length >> 1, packed.length - 5, packed.length - 1]) {
        const { end } = await decoded(coding, [packed.subarray(0, length)]);
        expect([length, end]).toEqual([length, "its answer cannot be decompressed"]);
      }
    }
  });

  test("that is something else is an error", async () => {
    const { end } = await decoded(coding, [Buffer.from("{}, which is not compressed at all")]);
    expect(end).toBe("its answer cannot be decompressed");
  });

  test("waits while it is paused, and takes no more then", async () => {
    const { decoder, text, over, full } = decoding(coding);
    decoder.pause();
    const packed = pack(NOISE);
    for (const piece of split(packed, 1_000)) decoder.push(piece);
    decoder.end();
    await full;
    // Another one that is not paused has done the same by then.
    await decoded(coding, split(packed, 1_000));
    expect(text().length).toBe(0);
    decoder.resume();
    expect([await over, text().equals(NOISE)]).toEqual(["end", true]);
  });

  test("tells nothing once it is stopped", async () => {
    const { decoder, text, over } = decoding(coding);
    let told = false;
    void over.then(() => (told = true));
    decoder.push(pack(TEXT));
    decoder.end();
    decoder.stop();
    await decoded(coding, [pack(TEXT)]);
    expect([told, text().length]).toEqual([false, 0]);
  });
});

describe("Body in zstd", () => {
  test("may be of several frames, of which some are skipped, with or without a checksum", async () => {
    const skipped = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    const checked = zstdCompressSync(TEXT, { params: { 201: 1 } });
    const frames = Buffer.concat([skipped, checked, skipped, zstdCompressSync(NOISE), skipped]);
    for (const size of [frames.length, 97]) {
      const { end, text } = await decoded("zstd", split(frames, size));
      expect([end, text.equals(Buffer.concat([TEXT, NOISE]))]).toEqual(["end", true]);
    }
    for (const cut of [1, 5, 9])
      expect((await decoded("zstd", [frames.subarray(0, -cut)])).end).not.toBe("end");
    expect((await decoded("zstd", [checked.subarray(0, -1)])).end).not.toBe("end");
  });
});

describe("Backend with a content coding", () => {
  const request = { method: "POST", path: "/v1/x", headers: {}, body: new Uint8Array(0) };

  async function answered(respond: (exchange: Exchange) => void) {
    const fake = await startFakeBackend();
    const limits = { clock: systemClock, firstByteTimeoutMs: 0, idleTimeoutMs: 0 };
    const client = pulledBackend({ url: fake.url, ...limits });
    const sent = client.send(request);
    respond(await fake.next());
    const dispose = async (): Promise<void> => {
      client.backend.close();
      await fake.stop();
    };
    return { response: await sent, [Symbol.asyncDispose]: dispose };
  }

  test.each(["compress", "gzip, gzip", "constructor", "__proto__", "aes128gcm"])(
    "that is not known, %s, passes its answer untouched and its field with it",
    async (coding) => {
      await using answer = await answered((exchange) =>
        exchange.answer(200, "as it is", { "content-encoding": coding }),
      );
      const { response } = answer;
      expect(response.headers["content-encoding"]).toBe(coding);
      expect(Buffer.from((await response.read()) ?? []).toString()).toBe("as it is");
      expect(await response.read()).toBeUndefined();
    },
  );

  test("is held back by whoever reads slowly, and loses nothing", async () => {
    const text = new Random(3).bytes(20_000_000);
    const packed = gzipSync(text, { level: 1 });
    let written = false;
    await using answer = await answered((exchange) => {
      exchange.head(200, { "content-encoding": "gzip", "content-length": String(packed.length) });
      exchange.write(packed);
      void exchange.flushed().then(() => (written = true));
    });
    const { response } = answer;
    const parts: Uint8Array[] = [];
    for (let part = await response.read(); part !== undefined; part = await response.read()) {
      parts.push(part);
      if (parts.length === 50) expect(written).toBe(false);
    }
    expect(Buffer.concat(parts).equals(text)).toBe(true);
  });
});
