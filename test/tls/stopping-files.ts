import { systemFiles, type CreatedFile, type FileOperations } from "../../src/tls/store/file-operations.ts";

/** What a stopped process would have done next never happened. */
export class Stopped extends Error {}

export interface StoppingFiles extends FileOperations {
  /** How many operations were begun. */
  readonly count: number;
}

/**
 * Real files, until the operation with this number (from 1 on): it does not happen, of a write it is half
 * that happens, and nothing after it does, as if the process had been killed there.
 */
export function stoppingFiles(stopAt: number): StoppingFiles {
  let count = 0;
  const guard =
    <Args extends unknown[], Result>(run: (...args: Args) => Promise<Result>) =>
    async (...args: Args): Promise<Result> => {
      count += 1;
      if (count >= stopAt) throw new Stopped(`operation ${count}`);
      return await run(...args);
    };
  const guardFile = (file: CreatedFile): CreatedFile => ({
    async write(bytes) {
      count += 1;
      if (count === stopAt) await file.write(bytes.subarray(0, bytes.length / 2));
      if (count >= stopAt) throw new Stopped(`operation ${count}`);
      await file.write(bytes);
    },
    sync: guard(() => file.sync()),
    chmod: guard((mode) => file.chmod(mode)),
    // Whatever happens, the test's own process gives the file back.
    async close() {
      await file.close();
      count += 1;
      if (count >= stopAt) throw new Stopped(`operation ${count}`);
    },
  });
  return {
    get count() {
      return count;
    },
    platform: systemFiles.platform,
    makeFolder: guard(systemFiles.makeFolder),
    createFile: guard(async (path, mode) => guardFile(await systemFiles.createFile(path, mode))),
    overwrite: guard(systemFiles.overwrite),
    readFile: guard(systemFiles.readFile),
    rename: guard(systemFiles.rename),
    link: guard(systemFiles.link),
    remove: guard(systemFiles.remove),
    list: guard(systemFiles.list),
    stat: guard(systemFiles.stat),
    chmod: guard(systemFiles.chmod),
    syncFolder: guard(systemFiles.syncFolder),
  };
}

/** Real files, but for those operations that are given. */
export function filesWith(changed: Partial<FileOperations>): FileOperations {
  return { ...systemFiles, ...changed };
}

export interface CountedFiles {
  files: FileOperations;
  /** Ends when nothing has been under way for a few turns of the event loop. */
  idle: () => Promise<void>;
}

/** The same files, of which one knows whether they are being used. */
export function countedFiles(real: FileOperations = systemFiles): CountedFiles {
  let running = 0;
  const counted =
    <Args extends unknown[], Result>(run: (...args: Args) => Promise<Result>) =>
    async (...args: Args): Promise<Result> => {
      running += 1;
      try {
        return await run(...args);
      } finally {
        running -= 1;
      }
    };
  const countedFile = (file: CreatedFile): CreatedFile => ({
    write: counted((bytes) => file.write(bytes)),
    sync: counted(() => file.sync()),
    chmod: counted((mode) => file.chmod(mode)),
    close: counted(() => file.close()),
  });
  return {
    files: {
      platform: real.platform,
      makeFolder: counted(real.makeFolder),
      createFile: counted(async (path, mode) => countedFile(await real.createFile(path, mode))),
      overwrite: counted(real.overwrite),
      readFile: counted(real.readFile),
      rename: counted(real.rename),
      link: counted(real.link),
      remove: counted(real.remove),
      list: counted(real.list),
      stat: counted(real.stat),
      chmod: counted(real.chmod),
      syncFolder: counted(real.syncFolder),
    },
    async idle() {
      for (let quiet = 0; quiet < 4; quiet++) {
        await new Promise((resolve) => setImmediate(resolve));
        if (running > 0) quiet = 0;
      }
    },
  };
}

/** An error as the system gives it. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: the system's own words`), { code });
}
