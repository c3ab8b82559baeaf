import {
  chmod,
  lchown,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  type FileHandle,
} from "node:fs/promises";
import { dirname } from "node:path";

/** Of a file, or of what a link leads to. */
export interface FileFacts {
  mode: number;
  /** Milliseconds since the epoch. */
  modifiedAt: number;
  isFolder: boolean;
  /** Whether it was reached by a link that another user made, who may mean no good by it. */
  isForeignLink: boolean;
}

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
  readonly stat: (path: string) => Promise<FileFacts>;
  readonly chmod: (path: string, mode: number) => Promise<void>;
  /** Makes names that were made or changed in a folder outlive a power cut. */
  readonly syncFolder: (path: string) => Promise<void>;
}

export const systemFiles: FileOperations = {
  platform: process.platform,
  async makeFolder(path, mode) {
    await mkdir(path, { mode });
    const owner = await ownerToBe(path);
    if (owner !== undefined) await lchown(path, owner.uid, owner.gid);
  },
  async createFile(path, mode) {
    const handle = await open(path, "wx", mode);
    try {
      const owner = await ownerToBe(path);
      if (owner !== undefined) await handle.chown(owner.uid, owner.gid);
    } catch (thrown) {
      await handle.close();
      throw thrown;
    }
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
    const [found, itself] = await Promise.all([stat(path), lstat(path)]);
    return {
      mode: found.mode & 0o777,
      modifiedAt: found.mtimeMs,
      isFolder: found.isDirectory(),
      isForeignLink: itself.isSymbolicLink() && itself.uid !== 0 && itself.uid !== process.getuid?.(),
    };
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

/**
 * Who is to own what root makes in a folder of another user: that user, who could not read it otherwise.
 * `sudo modelrelay tls import` would shut the relay out of its own store.
 */
async function ownerToBe(path: string): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const { uid, gid } = await stat(dirname(path));
  return uid === 0 ? undefined : { uid, gid };
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, done);
    done += bytesWritten;
  }
}
