import { createReadStream, mkdirSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { extract, type Header } from "tar-stream";
import { asRefusal, MAX_UNPACKED, safeName, UnpackError, writeEntry } from "./unpacked.ts";

const BLOCK = 512;

/** Hands on what gunzip gives, up to the limit, and asks for the block of zeros at its end: tar-stream does neither. */
async function* whole(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let length = 0;
  let last: Buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    length += chunk.length;
    if (length > MAX_UNPACKED) throw new UnpackError("it holds more than any release");
    last = (chunk.length < BLOCK ? Buffer.concat([last, chunk]) : chunk).subarray(-BLOCK);
    yield chunk;
  }
  if (length === 0 || length % BLOCK > 0 || last.some((byte) => byte !== 0))
    throw new UnpackError("it ends too early");
}

async function write(
  { name, type, mode }: Header,
  content: AsyncIterable<Buffer>,
  dir: string,
): Promise<void> {
  const path = join(dir, safeName(name));
  if (type === "directory") mkdirSync(path, { recursive: true });
  else if (type === "file") await writeEntry(path, mode & 0o777, content);
  else throw new UnpackError("it holds something that is neither file nor folder");
}

/**
 * Unpacks files and folders of a gzipped tar archive; links and devices are refused.
 *
 * @param dir exists, and gets everything
 * @throws {UnpackError} if the archive is no such thing
 */
export async function unpackTar(archive: string, dir: string): Promise<void> {
  const entries = extract();
  let writing: Promise<void> | undefined;
  entries.on("entry", (header, content, written) => {
    // A file that ends because its archive does has nothing to add to what the pipeline says.
    content.on("error", () => {});
    writing = write(header, content as AsyncIterable<Buffer>, dir).then(() => written(), written);
  });
  try {
    await pipeline(createReadStream(archive), createGunzip({ chunkSize: 64 * 1024 }), whole, entries);
  } catch (error) {
    throw asRefusal(error);
  } finally {
    await writing;
  }
}
