import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ownCommand } from "../../src/worker/http-limit.ts";

const CHILD = join(import.meta.dir, "http-limit-child.ts");
let folder = "";

/** What the child prints: the ids it had, and its last line. */
async function run(
  command: string[],
  environment: Record<string, string> = {},
): Promise<{ code: number; pids: string[]; seen: unknown }> {
  const { BUN_CONFIG_MAX_HTTP_REQUESTS: _, ...env } = process.env;
  const child = Bun.spawn(command, { env: { ...env, ...environment }, stdout: "pipe", stderr: "inherit" });
  const lines = (await child.stdout.text()).trim().split("\n");
  return {
    code: await child.exited,
    pids: lines.filter((line) => line.startsWith("pid ")).map((line) => line.slice(4)),
    seen: JSON.parse(lines.at(-1) ?? ""),
  };
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "modelrelay-http-limit-"));
});

afterAll(() => rm(folder, { recursive: true }));

describe("HTTP limit", () => {
  test("is lifted by replacing the process once, with all its arguments", async () => {
    const { code, pids, seen } = await run([process.execPath, CHILD, "-", "0", "--a", "b c"]);
    expect([code, pids.length, new Set(pids).size]).toEqual([0, 2, process.platform === "win32" ? 2 : 1]);
    expect(seen).toEqual({ limit: "65535", rest: ["--a", "b c"] });
  });

  test("is lifted in a compiled executable as well", async () => {
    const file = join(folder, process.platform === "win32" ? "child.exe" : "child");
    const built = Bun.spawn([process.execPath, "build", "--compile", CHILD, "--outfile", file], {
      stdout: "ignore",
      stderr: "inherit",
    });
    expect(await built.exited).toBe(0);
    const { code, pids, seen } = await run([file, "-", "0", "--a", "b c"]);
    expect([code, pids.length]).toEqual([0, 2]);
    expect(seen).toEqual({ limit: "65535", rest: ["--a", "b c"] });
  }, 60_000);

  test("is left alone where it is set already", async () => {
    const { pids, seen } = await run([process.execPath, CHILD, "-", "0"], {
      BUN_CONFIG_MAX_HTTP_REQUESTS: "300",
    });
    expect([pids.length, seen]).toEqual([1, { limit: "300", rest: [] }]);
  });

  test("does not count the path inside an executable as an argument", () => {
    expect(ownCommand(["bun", "/$bunfs/root/modelrelay", "serve"], [], "/$bunfs/root/modelrelay")).toEqual([
      "serve",
    ]);
    expect(ownCommand(["bun", "B:\\~BUN\\root\\m.exe", "serve"], [], "B:\\~BUN\\root\\m.exe")).toEqual([
      "serve",
    ]);
    expect(ownCommand(["bun", "/src/cli.ts", "serve"], ["--smol"], "/src/cli.ts")).toEqual([
      "--smol",
      "/src/cli.ts",
      "serve",
    ]);
  });
});
