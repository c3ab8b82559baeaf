import {
  chmod,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  type FileHandle,
} from "node:fs/promises";

/** A file that was created and is open for writing. */
export interface CreatedFile {
  /** Writes all of the bytes from the file's start on. */
  write(bytes: Uint8Array): Promise<void>;
  sync(): Promise<void>;
  chmod(mode: number): Promise<void>;
  close(): Promise<void>;
}

/**
 * What the store does with files, one system call each, so that a test can stop it between any two.
 * All of them throw what the system says.
 */
export interface FileOperations {
  readonly platform: NodeJS.Platform;
  /** One level; fails with EEXIST. */
  readonly makeFolder: (path: string, mode: number) => Promise<void>;
  /** Fails with EEXIST, and follows no link. */
  readonly createFile: (path: string, mode: number) => Promise<CreatedFile>;
  /** Writes over the beginning of a file that is there; fails with ENOENT. */
  readonly overwrite: (path: string, bytes: Uint8Array) => Promise<void>;
  readonly readFile: (path: string) => Promise<string>;
  readonly rename: (from: string, to: string) => Promise<void>;
  /** A second name for the file; fails with EEXIST. */
  readonly link: (from: string, to: string) => Promise<void>;
  readonly remove: (path: string) => Promise<void>;
  readonly list: (path: string) => Promise<string[]>;
  readonly stat: (path: string) => Promise<{ mode: number; modifiedAt: number; isFolder: boolean }>;
  readonly chmod: (path: string, mode: number) => Promise<void>;
  /** Makes names that were made or changed in a folder outlive a power cut. */
  readonly syncFolder: (path: string) => Promise<void>;
}

export const systemFiles: FileOperations = {
  platform: process.platform,
  async makeFolder(path, mode) {
    await mkdir(path, { mode });
  },
  async createFile(path, mode) {
    const handle = await open(path, "wx", mode);
    return {
      write: (bytes) => writeAll(handle, bytes),
      sync: () => handle.sync(),
      chmod: (changed) => handle.chmod(changed),
      close: () => handle.close(),
    };
  },
  async overwrite(path, bytes) {
    const handle = await open(path, "r+");
    try {
      await writeAll(handle, bytes);
    } finally {
      await handle.close();
    }
  },
  readFile: (path) => readFile(path, "utf8"),
  rename,
  link,
  remove: (path) => rm(path, { force: true }),
  list: (path) => readdir(path),
  async stat(path) {
    const found = await stat(path);
    return { mode: found.mode & 0o777, modifiedAt: found.mtimeMs, isFolder: found.isDirectory() };
  },
  chmod,
  async syncFolder(path) {
    const handle = await open(path, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, done);
    done += bytesWritten;
  }
}
