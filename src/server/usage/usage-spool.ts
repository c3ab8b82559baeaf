import { mkdir, open, stat, truncate, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { errorCode } from "../../base/errors.ts";
import type { UsageRow } from "./usage-store.ts";

/** Enough for some 150,000 requests. */
const MAX_BYTES = 64 * 1024 * 1024;
/** Read at once; a row takes some 400 bytes. */
const PAGE_BYTES = 256 * 1024;

const LF = 0x0a;

/** Rows read back, and where the next ones begin. */
export interface SpoolPage {
  rows: UsageRow[];
  end: number;
}

/**
 * A file with the rows that could not be stored, one a line. It outlives the process; of what was being
 * written when that was killed, the whole lines count. For one caller at a time.
 */
export class UsageSpool {
  readonly path: string;
  readonly #limit: number;
  /** Whole lines in the file. */
  #bytes = 0;
  #isKnown = false;
  /** What comes before has been stored. */
  #stored = 0;

  constructor(path: string, limit: number = MAX_BYTES) {
    this.path = path;
    this.#limit = limit;
  }

  /** Bytes that wait to be stored. */
  get waiting(): number {
    return this.#bytes - this.#stored;
  }

  /** Looks what an earlier process has left. @throws if the file cannot be used */
  async open(): Promise<void> {
    if (this.#isKnown) return;
    const size = await this.#size();
    this.#bytes = size;
    const last = size === 0 ? undefined : (await this.#read(size - 1, 1))[0];
    if (last !== undefined && last !== LF) await this.#append(Buffer.from("\n"));
    this.#isKnown = true;
  }

  /** @returns how many of the rows there was room for, from the first. @throws if the disk takes none */
  async append(rows: readonly UsageRow[]): Promise<number> {
    await this.open();
    let text = "";
    let taken = 0;
    let room = this.#limit - this.#bytes;
    for (const row of rows) {
      const line = `${JSON.stringify(row)}\n`;
      room -= Buffer.byteLength(line);
      if (room < 0) break;
      text += line;
      taken++;
    }
    if (taken > 0) await this.#append(Buffer.from(text));
    return taken;
  }

  /** The next rows that wait. Lines that are no rows are passed over. */
  async next(): Promise<SpoolPage> {
    await this.open();
    if (this.waiting > 0) await this.#lookAgain();
    if (this.waiting === 0) return { rows: [], end: this.#stored };
    for (let size = PAGE_BYTES; ; size *= 2) {
      const bytes = await this.#read(this.#stored, size);
      const end = bytes.lastIndexOf(LF) + 1;
      // A line that is longer than a page is no row of ours, but it has an end.
      if (end === 0 && bytes.length === size && this.#stored + size < this.#bytes) continue;
      return { rows: rowsIn(bytes.subarray(0, end)), end: this.#stored + end };
    }
  }

  /** What comes before `end` is stored now. */
  async stored(end: number): Promise<void> {
    this.#stored = end;
    if (end < this.#bytes) return;
    // Another relay with this data directory has written behind it: those rows wait as well.
    this.#bytes = Math.max(this.#bytes, await this.#size());
    if (end < this.#bytes) return;
    await truncate(this.path, 0);
    this.#bytes = 0;
    this.#stored = 0;
  }

  /** Somebody may have emptied or removed the file, to make room on a full disk: what is there now counts. */
  async #lookAgain(): Promise<void> {
    if ((await this.#size()) >= this.#bytes) return;
    this.#isKnown = false;
    this.#bytes = 0;
    this.#stored = 0;
    await this.open();
  }

  async #size(): Promise<number> {
    try {
      return (await stat(this.path)).size;
    } catch (thrown) {
      if (errorCode(thrown) === "ENOENT") return 0;
      throw thrown;
    }
  }

  async #append(bytes: Uint8Array): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true, mode: 0o700 });
    await this.#with("a", async (file) => {
      try {
        await file.appendFile(bytes);
        this.#bytes += bytes.length;
      } catch (thrown) {
        // A full disk may have taken a part; what comes next must not be written behind half a line.
        await file.truncate(this.#bytes).catch(() => {});
        throw thrown;
      }
    });
  }

  #read(from: number, length: number): Promise<Buffer> {
    return this.#with("r", async (file) => {
      const bytes = Buffer.alloc(length);
      const { bytesRead } = await file.read(bytes, 0, length, from);
      return bytes.subarray(0, bytesRead);
    });
  }

  async #with<T>(flags: "a" | "r", use: (file: FileHandle) => Promise<T>): Promise<T> {
    const file = await open(this.path, flags, 0o600);
    try {
      return await use(file);
    } finally {
      await file.close();
    }
  }
}

function rowsIn(bytes: Buffer): UsageRow[] {
  return bytes
    .toString()
    .split("\n")
    .flatMap((line) => rowIn(line) ?? []);
}

function rowIn(line: string): UsageRow | undefined {
  try {
    const row = JSON.parse(line) as UsageRow;
    return isWhole(row) ? row : undefined;
  } catch {
    return undefined;
  }
}

/** One that is not would keep every row behind it from being stored. */
function isWhole({ id, model, path, outcome, reason, at, status }: UsageRow): boolean {
  const texts = [id, model, path, outcome, reason].every((value) => typeof value === "string");
  return texts && typeof at === "number" && typeof status === "number";
}
