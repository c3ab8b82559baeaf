import { expect, test } from "bun:test";

const CLI = new URL("../../src/cli.ts", import.meta.url).pathname;

test("worker refuses to compress a link of version 1, which cannot be compressed", async () => {
  const child = Bun.spawn([process.execPath, CLI, "worker", "--link-version=v1"], {
    env: { PATH: process.env["PATH"] ?? "", WORKER_SECRET: "s", LINK_COMPRESS: "true" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect([stdout, stderr, await child.exited]).toEqual([
    "",
    "error: Cannot use compress (environment variable LINK_COMPRESS) with link-version v1 (flag --link-version): only newer versions compress\n  → Remove one of them\n",
    2,
  ]);
});
