import { beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tarGz, zip } from "../../scripts/archive.ts";
import { TARGETS } from "../../scripts/targets.ts";
import { TempDir } from "../commands/reading.ts";
import { runProgram } from "../e2e/program.ts";
import { namesIn } from "./machine.ts";
import { ADDRESS, archivePath, NEWER, OLDER, releaseFolder, TARGET } from "./releases.ts";

const ROOT = join(import.meta.dir, "../..");

function release(args: readonly string[], env: Record<string, string> = {}) {
  return runProgram([process.execPath, join(ROOT, "scripts/release.ts"), ...args], { env });
}

describe("A release", () => {
  let dir: string;
  beforeAll(async () => {
    dir = await releaseFolder();
  }, 60_000);

  test("has sums that sha256sum accepts, for its folder and for the address", async () => {
    for (const folder of [dir, join(dir, `v${OLDER}`), join(dir, `v${NEWER}`)]) {
      const checked = await runProgram(["sha256sum", "--strict", "--check", "SHA256SUMS"], { cwd: folder });
      expect({ folder, ...checked }).toMatchObject({ folder, code: 0, stderr: "" });
      expect(checked.stdout).toContain(".tar.gz: OK\n");
    }
    expect(namesIn(join(dir, `v${OLDER}`))).toEqual(["SHA256SUMS", `modelrelay-${OLDER}-${TARGET}.tar.gz`]);
  });

  test("has in its archive, below one folder, what its head comment says", async () => {
    const listed = await runProgram(["tar", "-tvzf", join(dir, archivePath(NEWER))]);
    const entries = listed.stdout
      .trim()
      .split("\n")
      .map((line) => {
        const [mode, owner, , , , path] = line.split(/\s+/);
        return `${mode} ${owner} ${path}`;
      });
    const folder = `modelrelay-${NEWER}-${TARGET}`;
    expect(entries[0]).toBe(`-rwxr-xr-x root/root ${folder}/modelrelay`);
    const others = [
      "LICENSE",
      "README.md",
      "share/bash-completion/completions/modelrelay",
      "share/fish/vendor_completions.d/modelrelay.fish",
      "share/man/man1/modelrelay.1",
      "share/zsh/site-functions/_modelrelay",
      "systemd/modelrelay-worker@.service",
      "systemd/modelrelay.service",
    ];
    for (const path of others) expect(entries).toContain(`-rw-r--r-- root/root ${folder}/${path}`);
    expect(entries.filter((entry) => !entry.includes(` ${folder}/`))).toEqual([]);
  });

  test("knows its address in install.sh and in the executable", async () => {
    expect(readFileSync(join(dir, "install.sh"), "utf8")).toContain(`\nBASE_URL='${ADDRESS}'\n`);
    using unpacked = new TempDir();
    await runProgram(["tar", "-xzf", join(dir, archivePath(NEWER))], { cwd: unpacked.path });
    const executable = join(unpacked.path, `modelrelay-${NEWER}-${TARGET}/modelrelay`);
    const { stdout } = await runProgram([executable, "update", "--help"]);
    expect(stdout).toContain(ADDRESS);
  });
});

describe("bun run release", () => {
  test("makes the same zip in every time zone", async () => {
    const made = ["UTC", "America/New_York"].map(async (TZ) => {
      using dir = new TempDir();
      const executable = dir.write("small", "MZ");
      const options = ["--target", "windows-x64", "--executable", executable, "--outdir", dir.path];
      const { code } = await release(options, { TZ, SOURCE_DATE_EPOCH: "1772600768" });
      expect(code).toBe(0);
      return readFileSync(join(dir.path, `v${OLDER}/modelrelay-${OLDER}-windows-x64.zip`));
    });
    const [here, there] = await Promise.all(made);
    expect(here?.equals(there!)).toBeTrue();
  });

  test("does not take back that there is a newer version", async () => {
    using dir = new TempDir();
    dir.write("latest.txt", "900.0.0\n");
    dir.write("SHA256SUMS", "of the newer one\n");
    const executable = dir.write("small", `#!/bin/sh\necho "modelrelay ${OLDER} (x, y)"\n`);
    const { stdout, code } = await release([
      "--outdir",
      dir.path,
      "--target",
      TARGET,
      "--executable",
      executable,
    ]);
    expect(code).toBe(0);
    expect(stdout).toContain("Installed over HTTP, ran and uninstalled: modelrelay");
    expect(stdout).toContain("latest.txt still says 900.0.0, which is newer\n");
    expect(readFileSync(join(dir.path, "latest.txt"), "utf8")).toBe("900.0.0\n");
    expect(readFileSync(join(dir.path, "SHA256SUMS"), "utf8")).toBe("of the newer one\n");
    expect(namesIn(dir.path)).toEqual([
      "SHA256SUMS",
      "latest.txt",
      "small",
      `v${OLDER}/`,
      `v${OLDER}/SHA256SUMS`,
      archivePath(OLDER),
    ]);
  });

  test("publishes nothing that install.sh cannot install", async () => {
    using dir = new TempDir();
    const executable = dir.write("broken", "#!/bin/sh\nexit 1\n");
    const served = join(dir.path, "release");
    const { stderr, code } = await release([
      "--outdir",
      served,
      "--target",
      TARGET,
      "--executable",
      executable,
    ]);
    expect(stderr).toContain("install.sh: Cannot run modelrelay");
    expect({ code, left: namesIn(served) }).toEqual({ code: 1, left: [] });
  });

  test("takes an address that a shell can hold", async () => {
    const address = "https://dl.example.com/model'relay";
    const { stderr, code } = await release(["--base-url", address, "--target", TARGET]);
    expect({ stderr, code }).toEqual({
      stderr: `Cannot take "${address}" for a release address: it is to begin with https://\n`,
      code: 2,
    });
  });

  test("names the platforms that there are", async () => {
    const { stderr, code } = await release(["--target", "linux-sparc"]);
    expect({ stderr, code }).toEqual({
      stderr: `Cannot make a release for "linux-sparc": it is not one of ${TARGETS.map(({ name }) => name).join(", ")}\n`,
      code: 2,
    });
  });
});

describe("An archive", () => {
  const entries = [
    { path: "folder/run", bytes: new TextEncoder().encode("#!/bin/sh\necho ran\n"), executable: true },
    { path: "folder/größe", bytes: new Uint8Array(1500).fill(7), executable: false },
    { path: "folder/empty", bytes: new Uint8Array(0), executable: false },
  ];
  /** 2026-03-04T05:06:08Z */
  const madeAt = 1_772_600_768;

  test("is the same to the byte for the same files", async () => {
    expect(await tarGz(entries, madeAt)).toEqual(await tarGz(entries, madeAt));
    expect(zip(entries, madeAt)).toEqual(zip(entries, madeAt));
    expect(zip(entries, madeAt)).not.toEqual(zip(entries, madeAt + 2));
  });

  test.each(["tar", "busybox tar"])("is unpacked by %s with rights and times", async (tar) => {
    using dir = new TempDir();
    writeFileSync(join(dir.path, "a.tar.gz"), await tarGz(entries, madeAt));
    const { stderr, code } = await runProgram([...tar.split(" "), "-xzf", "a.tar.gz"], { cwd: dir.path });
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    expect((await runProgram([join(dir.path, "folder/run")])).stdout).toBe("ran\n");
    expect(readFileSync(join(dir.path, "folder/größe"))).toEqual(Buffer.alloc(1500, 7));
    expect(readFileSync(join(dir.path, "folder/empty")).length).toBe(0);
    const listed = await runProgram(["tar", "--utc", "--full-time", "-tvzf", "a.tar.gz"], { cwd: dir.path });
    expect(listed.stdout).toMatch(/^-rwxr-xr-x root\/root +19 2026-03-04 05:06:08 folder\/run\n/);
  });

  test.each(["tar", "busybox tar"])("is unpacked by %s with a path of any length", async (tar) => {
    using dir = new TempDir();
    const path = `${"folder/".repeat(20)}${"x".repeat(101)}`;
    const archive = await tarGz([{ path, bytes: new Uint8Array(3), executable: false }], madeAt);
    writeFileSync(join(dir.path, "a.tar.gz"), archive);
    const { stderr, code } = await runProgram([...tar.split(" "), "-xzf", "a.tar.gz"], { cwd: dir.path });
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    expect(readFileSync(join(dir.path, path)).length).toBe(3);
  });

  test("for Windows is what Python reads from a zip", async () => {
    using dir = new TempDir();
    writeFileSync(join(dir.path, "a.zip"), zip(entries, madeAt));
    const script = `import sys, zipfile
z = zipfile.ZipFile("a.zip")
assert z.testzip() is None
for i in z.infolist(): print(i.filename, i.file_size, oct(i.external_attr >> 16), i.date_time)`;
    const { stdout, stderr } = await runProgram(["python3", "-c", script], {
      cwd: dir.path,
      env: { PYTHONUTF8: "1" },
    });
    expect({ stdout, stderr }).toEqual({
      stdout:
        "folder/run 19 0o100755 (2026, 3, 4, 5, 6, 8)\n" +
        "folder/größe 1500 0o100644 (2026, 3, 4, 5, 6, 8)\n" +
        "folder/empty 0 0o100644 (2026, 3, 4, 5, 6, 8)\n",
      stderr: "",
    });
  });
});
