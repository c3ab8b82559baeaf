import { createReadStream, mkdirSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createGunzip } from "node:zlib";
import { safeName, UnpackError, writeAll } from "./unpacked.ts";

// POSIX.1-2017, pax, "ustar Interchange Format"; and the names that GNU tar writes beside it.

const BLOCK = 512;
/** Of what a header says beside its own block, such as a long name. */
const MAX_EXTENSION = 64 * 1024;
/** Several times what a release has; what is more is no release. */
const MAX_UNPACKED = 1024 * 1024 * 1024;

interface Header {
  name: string;
  size: number;
  mode: number;
  /** `0` a file, `5` a folder, `x` and `L` what belongs to the next header. */
  type: string;
}

/** What stands in a fixed field, up to the first zero. */
function field(block: Buffer, at: number, length: number): string {
  const text = block.toString("utf8", at, at + length);
  const end = text.indexOf("\0");
  return end < 0 ? text : text.slice(0, end);
}

function octal(block: Buffer, at: number, length: number): number {
  const text = field(block, at, length).trim();
  if (!/^[0-7]*$/.test(text)) throw new UnpackError("a header of it holds no number where one belongs");
  return text === "" ? 0 : Number.parseInt(text, 8);
}

/** @returns `undefined` for the block of zeros that ends an archive */
function readHeader(block: Buffer): Header | undefined {
  if (block.every((byte) => byte === 0)) return undefined;
  const expected = octal(block, 148, 8);
  // The sum is taken with spaces in its own place.
  let sum = 8 * 0x20;
  for (const [at, byte] of block.entries()) if (at < 148 || at >= 156) sum += byte;
  if (sum !== expected) throw new UnpackError("the sum of a header is wrong");
  const prefix = field(block, 257, 5) === "ustar" ? field(block, 345, 155) : "";
  const name = field(block, 0, 100);
  return {
    name: prefix === "" ? name : `${prefix}/${name}`,
    size: octal(block, 124, 12),
    mode: octal(block, 100, 8) & 0o777,
    type: field(block, 156, 1) || "0",
  };
}

/** The path among the records of a pax header: `<length> path=<value>\n`. */
function paxPath(records: Buffer): string | undefined {
  for (let at = 0; at < records.length;) {
    const length = Number.parseInt(records.toString("latin1", at, at + 10), 10);
    if (!(length > 0)) return undefined;
    const record = records.toString("utf8", at, at + length - 1);
    const path = /^\d+ path=([\s\S]*)$/.exec(record)?.[1];
    if (path !== undefined) return path;
    at += length;
  }
  return undefined;
}

/** Reads a stream in the pieces that are asked for. */
class Pieces {
  readonly #chunks: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);
  #read = 0;

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Between 1 and `most` bytes. */
  async some(most: number): Promise<Buffer> {
    while (this.#held.length === 0) {
      const { done, value } = await this.#chunks.next();
      if (done === true) throw new UnpackError("it ends too early");
      this.#read += value.length;
      if (this.#read > MAX_UNPACKED) throw new UnpackError("it holds more than any release");
      this.#held = value;
    }
    const piece = this.#held.subarray(0, most);
    this.#held = this.#held.subarray(piece.length);
    return piece;
  }

  async exactly(length: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for (let left = length; left > 0;) {
      const piece = await this.some(left);
      pieces.push(piece);
      left -= piece.length;
    }
    return Buffer.concat(pieces);
  }

  async copy(length: number, file: FileHandle): Promise<void> {
    for (let left = length; left > 0;) {
      const piece = await this.some(left);
      await writeAll(file, piece);
      left -= piece.length;
    }
  }
}

/**
 * Unpacks files and folders of a gzipped tar archive; links and devices are refused.
 *
 * @param dir exists, and gets everything
 * @throws {UnpackError} if the archive is no such thing
 */
export async function unpackTar(archive: string, dir: string): Promise<void> {
  const source = createReadStream(archive);
  const gunzip = createGunzip();
  source.on("error", (error) => gunzip.destroy(error));
  const pieces = new Pieces(source.pipe(gunzip) as AsyncIterable<Buffer>);
  try {
    let longName: string | undefined;
    for (;;) {
      const header = readHeader(await pieces.exactly(BLOCK));
      if (header === undefined) return;
      const padding = (BLOCK - (header.size % BLOCK)) % BLOCK;
      if ("xgL".includes(header.type)) {
        if (header.size > MAX_EXTENSION) throw new UnpackError("a name in it is too long");
        const data = await pieces.exactly(header.size);
        if (header.type === "x") longName = paxPath(data) ?? longName;
        if (header.type === "L") longName = field(data, 0, data.length);
      } else {
        const path = join(dir, safeName(longName ?? header.name));
        longName = undefined;
        if (header.type === "5") mkdirSync(path, { recursive: true });
        else if (header.type === "0") {
          mkdirSync(dirname(path), { recursive: true });
          await using file = await open(path, "wx", header.mode);
          await pieces.copy(header.size, file);
        } else throw new UnpackError("it holds something that is neither file nor folder");
      }
      await pieces.exactly(padding);
    }
  } finally {
    gunzip.destroy();
    source.destroy();
  }
}
