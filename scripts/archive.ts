import { crc32, deflateRawSync } from "node:zlib";

/** A file in an archive. */
export interface Entry {
  /** With slashes, from the archive's root. */
  path: string;
  bytes: Uint8Array<ArrayBuffer>;
  executable: boolean;
}

/** Archives of the same entries and `madeAt`, in seconds since 1970, are the same to the byte. */
export function tarGz(entries: readonly Entry[], madeAt: number): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  for (const entry of entries) {
    parts.push(tarHeader(entry, madeAt), entry.bytes, new Uint8Array(-entry.bytes.length & 511));
  }
  // Two empty blocks end an archive.
  parts.push(new Uint8Array(1024));
  return Bun.gzipSync(joined(parts), { library: "libdeflate", level: 6 });
}

/** A header of the ustar format (POSIX.1-1988), which every tar reads. */
function tarHeader({ path, bytes, executable }: Entry, madeAt: number): Uint8Array {
  const name = Buffer.from(path);
  if (name.length > 100) throw new RangeError(`Cannot archive "${path}": its path is longer than 100 bytes`);
  const header = Buffer.alloc(512);
  const octal = (value: number, at: number, length: number) =>
    header.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
  header.set(name, 0);
  octal(executable ? 0o755 : 0o644, 100, 8);
  octal(0, 108, 8); // user and group: root
  octal(0, 116, 8);
  octal(bytes.length, 124, 12);
  octal(madeAt, 136, 12);
  header.write("        0", 148, "latin1"); // sum as blanks while it is made; type: a file
  header.write("ustar\x0000root", 257, "latin1");
  header.write("root", 297, "latin1");
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return header;
}

/** A zip file, for Windows (APPNOTE.TXT of PKWARE, version 2.0 of the format). */
export function zip(entries: readonly Entry[], madeAt: number): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let offset = 0;
  for (const { path, bytes, executable } of entries) {
    const name = Buffer.from(path);
    const packed = deflateRawSync(bytes, { level: 6 });
    const facts = Buffer.alloc(26);
    facts.writeUInt16LE(20, 0); // version 2.0 reads it
    facts.writeUInt16LE(0x0800, 2); // the name is UTF-8
    facts.writeUInt16LE(8, 4); // deflated
    facts.writeUInt32LE(dosTime(madeAt), 6);
    facts.writeUInt32LE(crc32(bytes), 10);
    facts.writeUInt32LE(packed.length, 14);
    facts.writeUInt32LE(bytes.length, 18);
    facts.writeUInt16LE(name.length, 22);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(((executable ? 0o100755 : 0o100644) << 16) >>> 0, 6);
    rest.writeUInt32LE(offset, 10);
    directory.push(Buffer.from("PK\x01\x02\x14\x03", "latin1"), facts, rest, name);
    parts.push(Buffer.from("PK\x03\x04", "latin1"), facts, name, packed);
    offset += 4 + facts.length + name.length + packed.length;
  }
  const listing = joined(directory);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", "latin1");
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(listing.length, 12);
  end.writeUInt32LE(offset, 16);
  return joined([...parts, listing, end]);
}

/** Date and time as MS-DOS had them, to two seconds. */
function dosTime(seconds: number): number {
  const at = new Date(seconds * 1_000);
  const date = ((at.getUTCFullYear() - 1980) << 9) | ((at.getUTCMonth() + 1) << 5) | at.getUTCDate();
  const time = (at.getUTCHours() << 11) | (at.getUTCMinutes() << 5) | (at.getUTCSeconds() >> 1);
  return ((date << 16) | time) >>> 0;
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
