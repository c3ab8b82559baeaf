import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { openStore } from "../../src/server/store/store.ts";
import { row } from "../server/usage/rows.ts";
import { Program } from "../faults/processes.ts";
import { TempDir } from "./reading.ts";

const CLI = new URL("../../src/cli.ts", import.meta.url).pathname;
const DAY = 86_400_000;

const dir = new TempDir();

beforeAll(async () => {
  const now = systemClock.wall();
  await using store = await openStore({ dataDir: dir.path }, { clock: systemClock });
  await store.insertUsage([
    row("00000000-0000-4000-8000-000000000001", { at: now - 40 * DAY, keyId: "k", keyName: "ada" }),
    row("00000000-0000-4000-8000-000000000002", { at: now - 2 * DAY, keyId: "k", keyName: "ada" }),
    row("00000000-0000-4000-8000-000000000003", {
      at: now - 2 * DAY,
      keyId: "k",
      keyName: "ada",
      model: '=A1,"x"',
      outcome: "failed",
      promptTokens: 1_000_000,
    }),
    row("00000000-0000-4000-8000-000000000004", { at: now - DAY / 2 }),
  ]);
});
afterAll(() => dir[Symbol.dispose]());

async function usage(...args: string[]): Promise<{ stdout: string; stderr: string; code: number }> {
  const child = Bun.spawn([process.execPath, CLI, "usage", "--data-dir", dir.path, ...args], {
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { stdout, stderr, code: await child.exited };
}

const TABLE = `KEY       REQUESTS  FAILED   PROMPT  COMPLETION  CACHED  BYTES IN  BYTES OUT
ada              2       1  1000020          14       8       200        400
(no key)         1       0       20           7       4       100        200
total            3       1  1000040          21      12       300        600
`;

describe("modelrelay usage", () => {
  test("shows a table of the last 30 days by key, from the database of a relay that does not run", async () => {
    expect(await usage()).toEqual({ stdout: TABLE, stderr: "", code: 0 });
  });

  test("shows the same of a relay that runs", async () => {
    await using relay = new Program("serve", ["--listen", "127.0.0.1:0", "--data-dir", dir.path]);
    await relay.url();
    expect(await usage()).toEqual({ stdout: TABLE, stderr: "", code: 0 });
    relay.signal("SIGTERM");
    expect(await relay.exited).toBe(0);
  });

  test("prints CSV that no spreadsheet takes for formulas", async () => {
    const { stdout } = await usage("--by", "model", "--since", "7d", "--csv");
    expect(stdout.split("\r\n")).toEqual([
      "model,requests,failed,prompt_tokens,completion_tokens,cached_tokens,bytes_in,bytes_out",
      `"'=A1,""x""",1,1,1000000,7,4,100,200`,
      "m,2,0,40,14,8,200,400",
      "",
    ]);
  });

  test("prints JSON", async () => {
    const { stdout } = await usage("--by=day", "--since=90d", "--until=1d", "--json");
    const view = JSON.parse(stdout) as { by: string; usage: { group: string }[]; total: object };
    expect(view.by).toBe("day");
    expect(view.usage.map(({ group }) => group)).toEqual(
      [40, 2].map((days) => new Date(systemClock.wall() - days * DAY).toISOString().slice(0, 10)),
    );
    expect(view.total).toMatchObject({ requests: 3, failed: 1, prompt_tokens: 1_000_040 });
  });

  test("refuses what makes no sense", async () => {
    const [group, time, both] = await Promise.all([
      usage("--by", "colour"),
      usage("--since", "yesterday"),
      usage("--csv", "--json"),
    ]);
    expect([group.code, time.code, both.code]).toEqual([2, 1, 2]);
    expect(group.stderr).toContain("expected one of key, model, worker, day");
    expect(time.stderr).toContain('Cannot use "yesterday" as since');
    expect(both.stderr).toContain("Cannot print both CSV (flag --csv) and JSON (flag --json)");
  });
});
