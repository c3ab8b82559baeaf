import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "../commands/reading.ts";
import { Machine, namesIn } from "./machine.ts";
import { copyOfSources, OLDER, TARGET } from "./releases.ts";
import { serveReleases } from "./release-server.ts";
import { tarGz } from "../../scripts/archive.ts";
import { FIRST, SmallReleases } from "./small-release.ts";

/** What building needs beside what installing a release does, without anything that runs scripts. */
const BUILDING = ["base64", "od", "sha512sum", "tr"];

/** npm is a script that asks env for node. */
const NODE = ["node", "npm", "env"];

/** A checkout whose dependencies are installed. */
class Checkout extends TempDir {
  readonly script = join(this.path, "install.sh");

  constructor() {
    super();
    copyOfSources(this.path);
  }
}

/** What install.sh calls Bun's package of this machine. */
const BUN_PACKAGE = `bun-${TARGET.replace("arm64", "aarch64")}`;

/** npm's registry with Bun's package alone, made of `bytes`; the checkout's lockfile expects it. */
async function fakeRegistry(
  registry: string,
  checkout: Checkout,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<string> {
  const archive = await tarGz([{ path: "package/bin/bun", bytes, executable: true }], 0);
  const path = `@oven/${BUN_PACKAGE}/-/${BUN_PACKAGE}-${Bun.version}.tgz`;
  mkdirSync(join(registry, path, ".."), { recursive: true });
  writeFileSync(join(registry, path), archive);
  const lockfile = join(checkout.path, "package-lock.json");
  const lock = JSON.parse(readFileSync(lockfile, "utf8")) as {
    packages: Record<string, { integrity: string }>;
  };
  const locked = lock.packages[`node_modules/@oven/${BUN_PACKAGE}`];
  if (locked === undefined) throw new Error(`Cannot find ${BUN_PACKAGE} in package-lock.json`);
  locked.integrity = `sha512-${createHash("sha512").update(archive).digest("base64")}`;
  writeFileSync(lockfile, JSON.stringify(lock, null, 2));
  return path;
}

test("A checkout is built and installed with Node.js and npm", async () => {
  using checkout = new Checkout();
  using machine = new Machine({ programs: NODE });
  const command = ["/bin/sh", "install.sh", "--prefix", machine.prefix];
  const { stdout, code } = await machine.run(command, {}, checkout.path);
  expect(stdout).toStartWith(
    `Building modelrelay for ${TARGET} from ${checkout.path}\n` +
      `Installed modelrelay ${OLDER} for ${TARGET} in ${machine.bin}\n`,
  );
  expect({ code, installed: await machine.version() }).toEqual({ code: 0, installed: OLDER });
  expect(namesIn(machine.prefix)).toContain("share/man/man1/modelrelay.1");
}, 60_000);

test("A checkout is built with nothing but curl, by the Bun that package-lock.json names", async () => {
  using checkout = new Checkout();
  using machine = new Machine({ programs: ["curl", ...BUILDING] });
  using registry = new TempDir();
  await fakeRegistry(registry.path, checkout, await Bun.file(process.execPath).bytes());
  await using server = await serveReleases(registry.path);
  const { stderr, code } = await machine.install(checkout.script, [], { NPM_CONFIG_REGISTRY: server.url });
  expect(stderr).toContain(`Downloading Bun ${Bun.version}: there is no Node.js 20 with npm, and no Bun\n`);
  expect({ code, installed: await machine.version() }).toEqual({ code: 0, installed: OLDER });
}, 60_000);

test("Where there is neither Node nor Bun, nor where to have it from, it says so", async () => {
  using checkout = new Checkout();
  using machine = new Machine({ programs: ["curl", ...BUILDING] });
  const before = machine.state();
  const { stderr, code } = await machine.install(checkout.script, []);
  expect(stderr).toStartWith(
    "install.sh: Cannot build from these sources: there is no Node.js 20 with npm, and no Bun\n",
  );
  expect({ code, state: machine.state() }).toEqual({ code: 1, state: before });
});

test("A Bun that is not the one in package-lock.json is not run", async () => {
  using checkout = new Checkout();
  using machine = new Machine({ programs: ["curl", ...BUILDING] });
  using registry = new TempDir();
  const path = await fakeRegistry(registry.path, checkout, new Uint8Array(1000));
  await using server = await serveReleases(registry.path);
  server.faults.set(path, { bytes: "something else" });
  const before = machine.state();
  const { stderr, code } = await machine.install(checkout.script, [], { NPM_CONFIG_REGISTRY: server.url });
  expect(stderr).toContain(
    `Cannot trust ${server.url}/${path}: its SHA-512 is not the one in package-lock.json\n`,
  );
  expect({ code, state: machine.state() }).toEqual({ code: 1, state: before });
});

test("Sources that do not build leave what is installed", async () => {
  using checkout = new Checkout();
  using machine = new Machine({ programs: NODE });
  writeFileSync(join(checkout.path, "src/cli.ts"), "this is no program");
  const { stderr, code } = await machine.install(checkout.script);
  expect(stderr).toEndWith("install.sh: Cannot build modelrelay\n  See the lines above\n");
  expect({ code, installed: existsSync(machine.prefix) }).toEqual({ code: 1, installed: false });
}, 60_000);

test("A checkout is not built where a release is asked for", async () => {
  using checkout = new Checkout();
  using machine = new Machine();
  using releases = await SmallReleases.make();
  await using server = await serveReleases(releases.path);
  await machine.install(checkout.script, ["--version", FIRST], server.env);
  expect(await machine.version()).toBe(FIRST);
  expect(existsSync(join(checkout.path, "dist"))).toBe(false);
});
