import {
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createZstdDecompress,
  type BrotliDecompress,
  type Gunzip,
  type Inflate,
  type ZstdDecompress,
} from "node:zlib";
import { ZstdFrames } from "./zstd-frames.ts";

type Decompressor = Gunzip | Inflate | BrotliDecompress | ZstdDecompress;

/** A map, since a backend may call its coding "constructor". */
const DECOMPRESSORS = new Map<string, () => Decompressor>([
  ["gzip", createGunzip],
  ["x-gzip", createGunzip],
  ["deflate", createInflate],
  ["br", createBrotliDecompress],
  ["zstd", createZstdDecompress],
]);

/** What a decoder tells; `end` or `failed` is the last call. */
export interface DecodedEvents {
  body(bytes: Uint8Array<ArrayBuffer>): void;
  end(): void;
  /** With a `code` that says that this was no such coding, or not all of it. */
  failed(error: unknown): void;
  /** It cannot take more for now, and can again. */
  full(): void;
  free(): void;
}

/** Undoes a content coding (RFC 9110 §8.4) as the body comes. */
export interface ContentDecoder {
  push(bytes: Uint8Array): void;
  end(): void;
  pause(): void;
  resume(): void;
  /** Tells nothing more. */
  stop(): void;
}

/** @returns `undefined` for a coding that is not known: such a body passes as it is */
export function contentDecoder(coding: string, events: DecodedEvents): ContentDecoder | undefined {
  const name = coding.trim().toLowerCase();
  const create = DECOMPRESSORS.get(name);
  if (create === undefined) return undefined;
  const frames = name === "zstd" ? new ZstdFrames() : undefined;
  const stream = create();
  stream.on("data", (bytes: Buffer<ArrayBuffer>) => events.body(bytes));
  stream.on("end", () => {
    if (frames === undefined || frames.whole) events.end();
    else events.failed(notDecoded(new Error("unexpected end of file")));
  });
  stream.on("error", (error) => events.failed(notDecoded(error)));
  stream.on("drain", () => events.free());
  return {
    push(bytes) {
      frames?.push(bytes);
      if (!stream.write(bytes)) events.full();
    },
    end: () => void stream.end(),
    pause: () => void stream.pause(),
    resume: () => void stream.resume(),
    stop() {
      stream.removeAllListeners();
      stream.on("error", () => {});
      stream.destroy();
    },
  };
}

/** One code for the many that the decompressors have. */
function notDecoded(cause: Error): Error {
  return Object.assign(new Error(cause.message, { cause }), { code: "ZlibError" });
}
