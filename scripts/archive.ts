import { zipSync, type Zippable } from "fflate";
import { pack } from "tar-stream";

/** A file in an archive. */
export interface Entry {
  /** With slashes, from the archive's root. */
  path: string;
  bytes: Uint8Array<ArrayBuffer>;
  executable: boolean;
}

const modeOf = ({ executable }: Entry) => (executable ? 0o755 : 0o644);

/** Archives of the same entries and `madeAt`, in seconds since 1970, are the same to the byte. */
export async function tarGz(entries: readonly Entry[], madeAt: number): Promise<Uint8Array<ArrayBuffer>> {
  const packed = pack();
  const mtime = new Date(madeAt * 1_000);
  for (const entry of entries) {
    const header = { name: entry.path, mode: modeOf(entry), mtime, uname: "root", gname: "root" };
    packed.entry(header, Buffer.from(entry.bytes.buffer, entry.bytes.byteOffset, entry.bytes.length));
  }
  packed.finalize();
  const tar = Buffer.concat(await Array.fromAsync(packed as AsyncIterable<Buffer>));
  return Bun.gzipSync(tar, { library: "libdeflate", level: 6 });
}

/** The system whose rights the attributes are (APPNOTE.TXT of PKWARE, 4.4.2). */
const UNIX = 3;
/** Where the format's dates begin, in seconds since 1970. */
const YEAR_1980 = 315_532_800;

/**
 * A zip file, for Windows; the same to the byte for the same, where `TZ` is the same: its times have no zone,
 * and are written as local ones.
 */
export function zip(entries: readonly Entry[], madeAt: number): Uint8Array<ArrayBuffer> {
  const mtime = Math.max(madeAt, YEAR_1980) * 1_000;
  const files: Zippable = {};
  for (const entry of entries) {
    const attrs = ((0o100000 | modeOf(entry)) << 16) >>> 0;
    files[entry.path] = [entry.bytes, { level: 6, os: UNIX, attrs, mtime }];
  }
  return zipSync(files);
}
