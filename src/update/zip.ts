import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { inflateRawSync } from "node:zlib";
import { safeName, UnpackError } from "./unpacked.ts";

// PKWARE's APPNOTE 6.3.10, as far as a release for Windows needs it: no encryption, nothing beyond 4 GiB.

const END = 0x06054b50;
const END_LENGTH = 22;
const ENTRY = 0x02014b50;
const ENTRY_LENGTH = 46;
const LOCAL = 0x04034b50;
const LOCAL_LENGTH = 30;
/** The end record is followed by a comment of at most this many bytes. */
const MAX_COMMENT = 65_535;
const MAX_UNPACKED = 1024 * 1024 * 1024;

function endRecord(bytes: Buffer): number {
  const first = Math.max(0, bytes.length - END_LENGTH - MAX_COMMENT);
  for (let at = bytes.length - END_LENGTH; at >= first; at--) if (bytes.readUInt32LE(at) === END) return at;
  throw new UnpackError("it ends too early");
}

function contentAt(bytes: Buffer, entry: number): Buffer {
  const method = bytes.readUInt16LE(entry + 10);
  const packed = bytes.readUInt32LE(entry + 20);
  const unpacked = bytes.readUInt32LE(entry + 24);
  const local = bytes.readUInt32LE(entry + 42);
  if (bytes.readUInt32LE(local) !== LOCAL) throw new UnpackError("a file is not where its list says");
  const begin = local + LOCAL_LENGTH + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
  const data = bytes.subarray(begin, begin + packed);
  if (unpacked > MAX_UNPACKED) throw new UnpackError("it holds more than any release");
  if (method !== 0 && method !== 8) throw new UnpackError("a file in it is packed in an unknown way");
  const content = method === 0 ? data : inflateRawSync(data, { maxOutputLength: Math.max(1, unpacked) });
  if (content.length !== unpacked || Bun.hash.crc32(content) !== bytes.readUInt32LE(entry + 16))
    throw new UnpackError("a file in it is damaged");
  return content;
}

/**
 * Unpacks a ZIP archive.
 *
 * @param dir exists, and gets everything
 * @throws {UnpackError} if the archive is no such thing
 */
export function unpackZip(archive: string, dir: string): void {
  const bytes = readFileSync(archive);
  try {
    const end = endRecord(bytes);
    let entry = bytes.readUInt32LE(end + 16);
    for (let left = bytes.readUInt16LE(end + 10); left > 0; left--) {
      if (bytes.readUInt32LE(entry) !== ENTRY) throw new UnpackError("its list of files is damaged");
      const nameLength = bytes.readUInt16LE(entry + 28);
      const name = bytes.toString("utf8", entry + ENTRY_LENGTH, entry + ENTRY_LENGTH + nameLength);
      const path = join(dir, safeName(name));
      if (name.endsWith("/")) mkdirSync(path, { recursive: true });
      else {
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, contentAt(bytes, entry), { flag: "wx", mode: 0o755 });
      }
      entry += ENTRY_LENGTH + nameLength + bytes.readUInt16LE(entry + 30) + bytes.readUInt16LE(entry + 32);
    }
  } catch (error) {
    // An offset that leads beyond the end.
    if (error instanceof RangeError) throw new UnpackError("it ends too early", { cause: error });
    throw error;
  }
}
