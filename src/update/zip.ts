import { constants, mkdirSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { type Entry, getFileNameLowLevel, openPromise, type ZipFile } from "yauzl";
import { asRefusal, MAX_UNPACKED, safeName, UnpackError, writeEntry } from "./unpacked.ts";

/** What a file holds; yauzl sees to its length, but not to its sum. */
async function* content(zip: ZipFile, entry: Entry): AsyncGenerator<Buffer> {
  let sum = 0;
  for await (const chunk of (await zip.openReadStreamPromise(entry)) as AsyncIterable<Buffer>) {
    sum = crc32(chunk, sum);
    yield chunk;
  }
  if (sum !== entry.crc32) throw new UnpackError("a file in it is damaged");
}

/** Whether a system with such things says that it is a link or a device. */
function isSpecial({ externalFileAttributes }: Entry): boolean {
  const kind = (externalFileAttributes >>> 16) & constants.S_IFMT;
  return kind !== 0 && kind !== constants.S_IFREG && kind !== constants.S_IFDIR;
}

async function write(archive: string, dir: string): Promise<void> {
  // Names are left as they are, since what they may be is said by `safeName`.
  const zip = await openPromise(archive, { decodeStrings: false });
  let length = 0;
  for await (const entry of zip.eachEntry()) {
    const name = getFileNameLowLevel(entry.generalPurposeBitFlag, entry.fileNameRaw, entry.extraFields, true);
    const path = join(dir, safeName(name));
    length += entry.uncompressedSize;
    if (length > MAX_UNPACKED) throw new UnpackError("it holds more than any release");
    if (isSpecial(entry)) throw new UnpackError("it holds something that is neither file nor folder");
    if (name.endsWith("/")) mkdirSync(path, { recursive: true });
    else await writeEntry(path, 0o755, content(zip, entry));
  }
}

/**
 * Unpacks files and folders of a ZIP archive; links and devices are refused.
 *
 * @param dir exists, and gets everything
 * @throws {UnpackError} if the archive is no such thing
 */
export async function unpackZip(archive: string, dir: string): Promise<void> {
  try {
    await write(archive, dir);
  } catch (error) {
    throw asRefusal(error);
  }
}
