import { describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "../commands/reading.ts";
import { runProgram, startProgram } from "../e2e/program.ts";
import { binaryPath } from "../support/binary.ts";
import { found, onLinux, privateDir, type Report } from "./machine.ts";

async function report(program: string, args: string[], PATH: string): Promise<Report> {
  const env = { PATH, HOME: "/nonexistent" };
  const { stdout, stderr, code } = await runProgram([program, "doctor", "--json", ...args], { env });
  return { ...(JSON.parse(stdout) as Pick<Report, "checks">), stderr, code };
}

describe("The executable", () => {
  test.skipIf(process.platform === "win32")("tells that another one is run by its name", async () => {
    using dir = privateDir();
    using place = new TempDir();
    const other = join(place.path, "modelrelay");
    place.write("modelrelay", "#!/bin/sh\n");
    chmodSync(other, 0o755);
    const args = ["--listen=127.0.0.1:0", "--data-dir", dir.path];
    const shadowed = await report(binaryPath(), args, place.path);
    expect(found(shadowed, "program")[0]).toMatch(
      new RegExp(
        `^warn \\S+: modelrelay \\S+ \\(.*\\); the name modelrelay leads to ${other} → Remove one of the two`,
      ),
    );
    const alone = await report(binaryPath(), args, "/nonexistent");
    expect(found(alone, "program")[0]).toStartWith("ok ");
    copyFileSync(binaryPath(), other);
    const named = await report(other, args, place.path);
    expect(found(named, "program")[0]).toStartWith(`ok ${other}: `);
    // What has to be loaded in its own way in an executable: the C library, and the thread of the database.
    if (onLinux) expect(found(named, "clock")[0]).not.toStartWith("skip");
  });

  test.if(onLinux)("tells a relay whose executable was replaced since, and shows its status", async () => {
    using dir = privateDir();
    using place = new TempDir();
    const program = join(place.path, "modelrelay");
    copyFileSync(binaryPath(), program);
    chmodSync(program, 0o755);
    await using relay = startProgram([program, "serve", "--listen=127.0.0.1:0", "--data-dir", dir.path]);
    const [, url = ""] = await relay.until(/The relay listens url=(\S+)/);
    await Bun.file(program).delete();
    const seen = await report(binaryPath(), ["--data-dir", dir.path], "/nonexistent");
    expect(found(seen, "relay here")[0]).toMatch(
      /^warn .*, while version \S+ is installed → Restart it: modelrelay service restart$/,
    );
    expect(found(seen, "integrity")).toEqual(["ok every page and index is sound"]);
    const { stdout, code } = await runProgram([binaryPath(), "status", "--data-dir", dir.path]);
    expect([stdout.split("  ")[0] === "relay", stdout.includes(url), code]).toEqual([true, true, 0]);
  });
});
