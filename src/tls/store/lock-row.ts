import { join } from "node:path";
import { errorCode } from "../../base/errors.ts";
import { FILE_MODE, type WriteTools } from "./atomic-file.ts";
import { fileProblem } from "./file-problem.ts";

/** The files of one lock: `<prefix>.1.lock`, `<prefix>.2.lock`, and so on. */
export class LockRow {
  readonly #tools: WriteTools;
  readonly #folder: string;
  readonly #prefix: string;

  constructor(tools: WriteTools, folder: string, prefix: string) {
    this.#tools = tools;
    this.#folder = folder;
    this.#prefix = `${prefix}.`;
  }

  path(number: number): string {
    return join(this.#folder, `${this.#prefix}${number}.lock`);
  }

  async #numbers(): Promise<number[]> {
    const names = await this.#tools.files.list(this.#folder);
    return names.flatMap((name) => {
      if (!name.startsWith(this.#prefix)) return [];
      const digits = /^([1-9]\d{0,14})\.lock$/.exec(name.slice(this.#prefix.length))?.[1];
      return digits === undefined ? [] : [Number(digits)];
    });
  }

  /** The number that counts; 0 if the lock was never held. */
  async highest(): Promise<number> {
    try {
      return Math.max(0, ...(await this.#numbers()));
    } catch (cause) {
      throw fileProblem("read", this.#folder, cause);
    }
  }

  /** `undefined` if there is no such file. */
  async text(number: number): Promise<string | undefined> {
    try {
      return await this.#tools.files.readFile(this.path(number));
    } catch (cause) {
      if (errorCode(cause) === "ENOENT") return undefined;
      throw fileProblem("read", this.path(number), cause);
    }
  }

  /** Whether the number could be had: another process may have it. */
  async create(number: number): Promise<boolean> {
    const { files } = this.#tools;
    try {
      const file = await files.createFile(this.path(number), FILE_MODE);
      try {
        if (files.platform !== "win32") await file.chmod(FILE_MODE);
      } finally {
        await file.close();
      }
      return true;
    } catch (cause) {
      // Windows says EPERM of a name whose file is being removed.
      const code = errorCode(cause);
      if (code === "EEXIST" || (code === "EPERM" && files.platform === "win32")) return false;
      throw fileProblem("write", this.path(number), cause);
    }
  }

  /** Only the process that created the number does this. Fails with ENOENT once it has been removed. */
  async write(number: number, record: Uint8Array): Promise<void> {
    await this.#tools.files.overwrite(this.path(number), record);
  }

  async removeUpTo(last: number): Promise<void> {
    for (const number of await this.#numbers()) {
      if (number <= last) await this.#tools.files.remove(this.path(number));
    }
  }
}
