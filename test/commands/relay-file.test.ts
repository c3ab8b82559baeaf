import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { silentLog } from "../../src/base/log.ts";
import { readRelayFile, writeRelayFile } from "../../src/commands/relay-file.ts";
import { TempDir } from "./reading.ts";

const URL = "http://127.0.0.1:8080";
const KEY = "ab".repeat(32);
const MODULE = join(import.meta.dir, "../../src/commands/relay-file.ts");

describe.skipIf(process.platform === "win32")("The file that says where a relay is", () => {
  test("is believed as the relay has written it", () => {
    using dir = new TempDir();
    const file = writeRelayFile(dir.path, URL, KEY, silentLog);
    expect(readRelayFile(dir.path)).toEqual({ url: URL, pid: process.pid, proofKey: KEY });
    file.remove();
    expect(readRelayFile(dir.path)).toBeUndefined();
  });

  test("leaves nothing behind where it cannot be written", () => {
    using dir = new TempDir();
    mkdirSync(join(dir.path, "relay.json"));
    writeRelayFile(dir.path, URL, KEY, silentLog);
    expect(readdirSync(dir.path)).toEqual(["relay.json"]);
  });

  test("is not believed where everybody could have written it", () => {
    using dir = new TempDir();
    writeRelayFile(dir.path, URL, KEY, silentLog);
    chmodSync(join(dir.path, "relay.json"), 0o666);
    expect(readRelayFile(dir.path)).toBeUndefined();
  });

  test("is a file, and a short one: nobody waits for a pipe, or reads for ever", () => {
    using dir = new TempDir();
    const path = join(dir.path, "relay.json");
    expect(Bun.spawnSync(["mkfifo", path]).success).toBe(true);
    // The wait for a pipe would be that of the tests themselves.
    const script = `import { readRelayFile } from ${JSON.stringify(MODULE)}; console.log(readRelayFile(${JSON.stringify(dir.path)}));`;
    const read = Bun.spawnSync([process.execPath, "-e", script], { timeout: 5_000 });
    expect([read.exitCode, read.stdout.toString()]).toEqual([0, "undefined\n"]);
    rmSync(path);
    const content = JSON.stringify({ url: URL, pid: process.pid, proofKey: KEY });
    writeFileSync(path, content + " ".repeat(64 * 1024), { mode: 0o600 });
    expect(readRelayFile(dir.path)).toBeUndefined();
  });

  test.skipIf(process.getuid?.() !== 0)("is not believed if another user has put it there", () => {
    using dir = new TempDir();
    const path = join(dir.path, "relay.json");
    writeFileSync(path, JSON.stringify({ url: URL, pid: process.pid, proofKey: KEY }), { mode: 0o600 });
    chownSync(path, 65_534, 65_534);
    expect(readRelayFile(dir.path)).toBeUndefined();
    // A relay that runs as another user has a directory of its own.
    chownSync(dir.path, 65_534, 65_534);
    expect(readRelayFile(dir.path)).toEqual({ url: URL, pid: process.pid, proofKey: KEY });
  });
});
