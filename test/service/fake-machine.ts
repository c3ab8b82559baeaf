import { posix } from "node:path";
import type { Machine, Ran } from "../../src/service/machine.ts";

interface Entry {
  content: string | Uint8Array;
  mode: number;
  owner: number | undefined;
}

export interface FakeMachineParts {
  platform: NodeJS.Platform;
  env?: Record<string, string>;
  home?: string;
  uid?: number | undefined;
  userName?: string;
  /** What a program answers; those that are not named succeed and say nothing. */
  answers?: (command: readonly string[]) => Partial<Ran> | undefined;
}

/** A machine of another kind than this one, in memory, which notes what is run on it. */
export class FakeMachine implements Machine {
  readonly platform: NodeJS.Platform;
  readonly env: Record<string, string>;
  readonly home: string;
  readonly uid: number | undefined;
  readonly userName: string;
  readonly files = new Map<string, Entry>();
  readonly directories = new Map<string, { mode: number; owner: number | undefined }>();
  readonly commands: string[][] = [];
  readonly #answers: NonNullable<FakeMachineParts["answers"]>;

  constructor({ platform, env = {}, home = "/home/ada", uid, userName = "ada", answers }: FakeMachineParts) {
    Object.assign(this, { platform, env, home, uid, userName });
    this.platform = platform;
    this.env = env;
    this.home = home;
    this.uid = uid;
    this.userName = userName;
    this.#answers = answers ?? (() => undefined);
  }

  run(command: readonly string[]): Promise<Ran> {
    this.commands.push([...command]);
    return Promise.resolve({ code: 0, stdout: "", stderr: "", ...this.#answers(command) });
  }

  attach(command: readonly string[]): Promise<number> {
    this.commands.push([...command]);
    return Promise.resolve(0);
  }

  exists(path: string): boolean {
    return this.files.has(path) || this.directories.has(path);
  }

  read(path: string): string | undefined {
    const content = this.files.get(path)?.content;
    return typeof content === "string" || content === undefined
      ? content
      : Buffer.from(content).toString("utf16le");
  }

  list(directory: string): string[] {
    const separator = this.platform === "win32" ? "\\" : posix.sep;
    return [...this.files.keys()]
      .filter((path) => path.startsWith(directory + separator))
      .map((path) => path.slice(directory.length + 1))
      .filter((name) => !name.includes(separator));
  }

  write(path: string, content: string | Uint8Array, mode: number, owner?: { uid: number }): void {
    this.files.set(path, { content, mode, owner: owner?.uid });
  }

  makeDirectory(path: string, mode: number, owner?: { uid: number }): void {
    this.directories.set(path, { mode, owner: owner?.uid });
  }

  remove(path: string): void {
    this.files.delete(path);
  }

  removeTree(path: string): void {
    this.directories.delete(path);
    for (const file of this.list(path)) this.files.delete(`${path}/${file}`);
  }

  removeEmpty(path: string): boolean {
    return this.list(path).length === 0 && this.directories.delete(path);
  }
}
