import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { tarGz } from "../../scripts/archive.ts";
import { TempDir } from "../commands/reading.ts";
import { runProgram, startProgram, type Program } from "../e2e/program.ts";
import { serveReleases, type ReleaseServer } from "../install/release-server.ts";
import { addSmallRelease, type SmallRelease } from "../install/small-release.ts";
import { archivePath, TARGET } from "../install/releases.ts";

const ROOT = join(import.meta.dir, "../..");

/** Versions of which there are executables; and one newer than both, of which there are archives. */
export const OLD = "1.0.0";
export const NEW = "1.1.0";
export const NEWEST = "1.2.0-rc.1";

const BUILT = join(tmpdir(), `modelrelay-update-${process.pid}`);

/** To be called after all tests of a file that has asked for an executable: each has 100 MB. */
export function removeExecutables(): void {
  rmSync(BUILT, { recursive: true, force: true });
}

/** The program, compiled as some version; made once, and not to be written to. */
export async function executable(version: string): Promise<string> {
  const outfile = join(BUILT, `modelrelay-${version}`);
  if (existsSync(outfile)) return outfile;
  const manifest = join(ROOT, "package.json");
  const { success, logs } = await Bun.build({
    entrypoints: [join(ROOT, "src/cli.ts")],
    compile: { outfile, autoloadDotenv: false, autoloadBunfig: false },
    define: {
      MODELRELAY_PLATFORM: JSON.stringify(TARGET),
      MODELRELAY_COMMIT: JSON.stringify("0123456789"),
      "process.env.NODE_ENV": JSON.stringify("production"),
    },
    plugins: [
      {
        name: "version",
        setup(build) {
          build.onLoad({ filter: /\/package\.json$/ }, ({ path }) => {
            const contents = JSON.parse(readFileSync(path, "utf8")) as object;
            return {
              contents: JSON.stringify(path === manifest ? { ...contents, version } : contents),
              loader: "json",
            };
          });
        },
      },
    ],
  });
  if (!success)
    throw new Error(`Cannot build version ${version}: ${logs.map(({ message }) => message).join("\n")}`);
  return outfile;
}

export interface HalvesServer extends AsyncDisposable {
  env: { MODELRELAY_BASE_URL: string };
  /** Lets the second halves come. */
  go(): void;
}

/** A release address in a folder, and a server for it. */
export class Releases extends TempDir {
  /** Publishes the executable of a version; all that is done to it can be undone by its older one. */
  async addReal(version: string): Promise<void> {
    const bytes = new Uint8Array(readFileSync(await executable(version)));
    const name = basename(archivePath(version), ".tar.gz");
    await this.#add(version, [{ path: `${name}/modelrelay`, bytes, executable: true }]);
  }

  /** Publishes a shell script that tells a version. */
  async add(release: SmallRelease): Promise<void> {
    await addSmallRelease(this.path, release);
  }

  /** Publishes an archive of one's own, with its right sum. */
  addArchive(version: string, archive: Uint8Array): void {
    mkdirSync(join(this.path, `v${version}`), { recursive: true });
    writeFileSync(join(this.path, archivePath(version)), archive);
    const sum = createHash("sha256").update(archive).digest("hex");
    this.write(`v${version}/SHA256SUMS`, `${sum}  ${basename(archivePath(version))}\n`);
    this.write("latest.txt", `${version}\n`);
  }

  async #add(version: string, entries: Parameters<typeof tarGz>[0]): Promise<void> {
    this.addArchive(version, await tarGz(entries, 1_700_000_000));
  }

  /** Serves the files, and every archive in two halves: the second comes when the test says so. */
  async serveHalves(): Promise<HalvesServer> {
    const allowed = Promise.withResolvers<void>();
    const server = createServer((request, response) => {
      const path = join(this.path, request.url ?? "");
      const bytes = readFileSync(path);
      response.writeHead(200, { "content-length": bytes.length });
      if (!path.endsWith(".tar.gz")) {
        response.end(bytes);
        return;
      }
      const middle = Math.floor(bytes.length / 2);
      response.write(bytes.subarray(0, middle));
      void allowed.promise.then(() => response.end(bytes.subarray(middle)));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    return {
      env: { MODELRELAY_BASE_URL: `http://127.0.0.1:${port}` },
      go: allowed.resolve,
      async [Symbol.asyncDispose]() {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      },
    };
  }

  serve(): Promise<ReleaseServer> {
    return serveReleases(this.path);
  }
}

/** Every file below a folder with its mode and a sum of what is in it. */
export function stateOf(dir: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of readdirSync(dir, { recursive: true, encoding: "utf8" }).sort()) {
    const stats = statSync(join(dir, name));
    const what = stats.isDirectory() ? "folder" : Bun.hash(readFileSync(join(dir, name))).toString(36);
    found[name] = `${(stats.mode & 0o777).toString(8)} ${what}`;
  }
  return found;
}

/** The program in a folder, as somebody installed it. */
export class Installed extends TempDir {
  readonly bin = join(this.path, "bin");
  readonly program = join(this.bin, "modelrelay");
  readonly previous = join(this.bin, "modelrelay.previous");

  /** @param built by `executable` */
  constructor(built: string) {
    super();
    mkdirSync(this.bin);
    // A second name is as good as a copy of 100 MB, since an update writes to neither.
    linkSync(built, this.program);
  }

  /** Where the program must be a file of its own. */
  separate(): void {
    const copy = `${this.program}.copy`;
    cpSync(this.program, copy);
    rmSync(this.program);
    cpSync(copy, this.program);
    rmSync(copy);
  }

  run(args: string[], env: Record<string, string> = {}, program = this.program) {
    return runProgram([program, ...args], { env });
  }

  start(args: string[], env: Record<string, string> = {}): Program {
    return startProgram([this.program, ...args], { env });
  }

  async version(program = this.program): Promise<string> {
    const { stdout } = await this.run(["--version"], {}, program);
    return stdout.split(" ")[1] ?? "";
  }

  get state(): Record<string, string> {
    return stateOf(this.path);
  }
}
