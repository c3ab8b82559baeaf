import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Problem } from "../../src/base/errors.ts";
import { keepSecret } from "../../src/commands/kept-secret.ts";

const POSIX = process.platform !== "win32";

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "modelrelay-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const modeOf = (path: string) => statSync(path).mode & 0o777;

describe("Kept worker secret", () => {
  test("is made once, and only its user can read it", () => {
    const dir = join(home, "a", "b");
    const made = keepSecret(dir, "worker-secret");
    expect(made.secret).toMatch(/^[\w-]{43}$/);
    expect(made.isNew).toBe(true);
    expect(keepSecret(dir, "worker-secret")).toEqual({ ...made, isNew: false });
    expect(readFileSync(made.path, "utf8")).toBe(`${made.secret}\n`);
    expect(readdirSync(dir)).toEqual(["worker-secret"]);
    if (POSIX) expect([modeOf(made.path), modeOf(dir)]).toEqual([0o600, 0o700]);
  });

  test("is made anew where its file is empty, whoever could read that file", () => {
    const path = join(home, "worker-secret");
    writeFileSync(path, "\n");
    chmodSync(path, 0o666);
    const { secret, isOpenToAll } = keepSecret(home, "worker-secret");
    expect(secret).toHaveLength(43);
    expect(isOpenToAll).toBe(false);
    if (POSIX) expect(modeOf(path)).toBe(0o600);
  });

  test("says when every user can read or change its file", () => {
    const path = join(home, "worker-secret");
    writeFileSync(path, "of-the-operator\n");
    for (const [mode, open] of [
      [0o644, true],
      [0o602, true],
      [0o640, false],
      [0o600, false],
    ] as const) {
      chmodSync(path, mode);
      expect(keepSecret(home, "worker-secret")).toEqual({
        secret: "of-the-operator",
        path,
        isOpenToAll: POSIX && open,
        isNew: false,
      });
    }
  });

  test("is refused where no worker could present it", () => {
    writeFileSync(join(home, "worker-secret"), "one\ntwo\n");
    expect(() => keepSecret(home, "worker-secret")).toThrow(
      "it holds more than one line, or control characters",
    );
  });

  test("is refused with a remedy where there is no place for it", () => {
    writeFileSync(join(home, "file"), "");
    expect(() => keepSecret(join(home, "file"), "worker-secret")).toThrow(Problem);
    expect(readdirSync(home)).toEqual(["file"]);
  });
});
