import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkClock } from "../../src/doctor/clock-step.ts";
import { checkDisk, judgeDisk } from "../../src/doctor/disk.ts";
import { checkFiles, checkFolder, checkSecretFiles } from "../../src/doctor/folder.ts";
import type { RelayAnswer } from "../../src/doctor/relays.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { AS_NOBODY, canBeNobody, doctor, found, isRoot, machine, onLinux, privateDir } from "./machine.ts";

const NOBODY = 65_534;
const here = machine();

describe.skipIf(process.platform === "win32")("The data directory", () => {
  test("is well with its owner alone in it", () => {
    using dir = privateDir();
    expect(checkFolder(here, dir.path, undefined)).toMatchObject({
      ok: true,
      target: dir.path,
      details: expect.stringMatching(/^of \S+, mode 0700$/),
    });
    expect(checkFolder(here, dir.path, undefined).warning).toBeUndefined();
  });

  test("is a warning where others can look into it, and a failure where they can write", () => {
    using dir = privateDir();
    chmodSync(dir.path, 0o755);
    expect(checkFolder(here, dir.path, undefined)).toMatchObject({
      ok: true,
      warning: true,
      details: expect.stringMatching(/^of \S+, mode 0755: others can look into it$/),
      action: `Close it: chmod 700 ${dir.path}`,
    });
    chmodSync(dir.path, 0o707);
    expect(checkFolder(here, dir.path, undefined)).toMatchObject({
      ok: false,
      details: expect.stringContaining("everybody can put files into it"),
    });
  });

  test("may be missing, but not where it cannot be made", () => {
    using dir = privateDir();
    expect(checkFolder(here, join(dir.path, "a/b"), undefined)).toMatchObject({
      ok: undefined,
      details: "not there yet: the first start of serve makes it",
    });
    const file = dir.write("file", "");
    expect(checkFolder(here, file, undefined)).toMatchObject({ ok: false, details: "it is a file" });
    expect(checkFolder(here, join(file, "a"), undefined).ok).toBe(false);
  });

  test.if(canBeNobody)("is a failure where this user can neither make nor enter nor write it", async () => {
    using dir = privateDir();
    chmodSync(dir.path, 0o755);
    const closed = join(dir.path, "closed");
    mkdirSync(join(closed, "inner"), { recursive: true, mode: 0o700 });
    const own = join(dir.path, "own");
    mkdirSync(own, { mode: 0o500 });
    chownSync(own, NOBODY, NOBODY);
    chmodSync(own, 0o500);
    const as = async (dataDir: string): Promise<string[]> => {
      const run = { under: AS_NOBODY, env: { HOME: "/nonexistent" } };
      const report = await doctor(["--listen=127.0.0.1:0", "--data-dir", dataDir], run);
      expect(report.code).toBe(1);
      return found(report, "data directory");
    };
    const [none, inner, foreign, unwritable] = await Promise.all([
      as(join(dir.path, "none")),
      as(join(closed, "inner")),
      as(closed),
      as(own),
    ]);
    expect(none[0]).toStartWith(
      `FAIL ${dir.path}/none: it is not there and cannot be made in ${dir.path}: not allowed → Make it: `,
    );
    expect(inner[0]).toBe(
      `FAIL ${closed}/inner: cannot be looked at: not allowed → Run this as the relay's user, or as root`,
    );
    expect(foreign[0]).toStartWith(
      `FAIL ${closed}: it belongs to root, and this user is nobody → Run this and serve as root, or `,
    );
    expect(unwritable[0]).toStartWith(
      `FAIL ${own}: of nobody, mode 0500: it cannot be written: not allowed → `,
    );
  });

  test.if(isRoot)("belongs to the user as whom the relay runs", () => {
    using dir = privateDir();
    chownSync(dir.path, NOBODY, NOBODY);
    // Root looks at the relay of another user.
    expect(checkFolder(here, dir.path, undefined)).toMatchObject({
      ok: true,
      details: "of nobody, mode 0700",
    });
    const asUser = machine({ uid: 1 });
    expect(checkFolder(asUser, dir.path, undefined)).toMatchObject({
      ok: false,
      details: "it belongs to nobody, and this user is daemon",
      action: `Run this and serve as nobody, or give it away: sudo chown -R daemon ${dir.path}`,
    });
  });
});

describe.skipIf(process.platform === "win32")("The files in it", () => {
  test("are well where nobody else can read them", () => {
    using dir = privateDir();
    mkdirSync(join(dir.path, "tls/relay.example.com"), { recursive: true, mode: 0o700 });
    for (const name of ["admin-token", "tls/relay.example.com/key.pem"])
      writeFileSync(join(dir.path, name), "x", { mode: 0o600 });
    expect(checkFiles(here, dir.path, undefined)).toEqual({
      target: "",
      ok: true,
      details: "2, for their owner alone",
    });
  });

  test("are a failure where everybody can, however deep they lie, and a warning where a group can", () => {
    using dir = privateDir();
    mkdirSync(join(dir.path, "tls/a"), { recursive: true });
    const key = join(dir.path, "tls/a/key.pem");
    writeFileSync(key, "x");
    chmodSync(key, 0o644);
    expect(checkFiles(here, dir.path, undefined)).toEqual({
      target: "",
      ok: false,
      details: "every user of this machine can read or change tls/a/key.pem",
      action: `Close them: chmod -R go= ${dir.path}; then replace the secrets among them`,
    });
    chmodSync(key, 0o602);
    expect(checkFiles(here, dir.path, undefined).ok).toBe(false);
    chmodSync(key, 0o640);
    expect(checkFiles(here, dir.path, undefined)).toMatchObject({
      ok: true,
      warning: true,
      details: "a group can read tls/a/key.pem",
    });
  });

  test("are named up to three, and a link is not followed", () => {
    using dir = privateDir();
    for (const name of ["a", "b", "c", "d", "e"]) {
      writeFileSync(join(dir.path, name), "x");
      chmodSync(join(dir.path, name), 0o644);
    }
    expect(checkFiles(here, dir.path, undefined).details).toEndWith("a, b, c and 2 more");
    using other = privateDir();
    symlinkSync(dir.path, join(other.path, "link"));
    expect(checkFiles(here, other.path, undefined)).toMatchObject({
      ok: true,
      details: "0, for their owner alone",
    });
  });

  test.if(isRoot)("are a failure where they belong to another user than the directory", () => {
    using dir = privateDir();
    chownSync(dir.path, NOBODY, NOBODY);
    writeFileSync(join(dir.path, "modelrelay.db"), "", { mode: 0o600 });
    expect(checkFiles(here, dir.path, undefined)).toEqual({
      target: "",
      ok: false,
      details: "not all belong to nobody, as whom the relay runs: modelrelay.db",
      action: `Give them away: sudo chown -R nobody ${dir.path}`,
    });
  });
});

describe.skipIf(process.platform === "win32")("Files that settings name", () => {
  test("are told where everybody can read or change them, or nobody", () => {
    using dir = privateDir();
    const files = { good: 0o600, group: 0o640, open: 0o644, writable: 0o602 };
    for (const [name, mode] of Object.entries(files)) chmodSync(dir.write(name, "x"), mode);
    const look = (name: string) =>
      checkSecretFiles(here, [{ path: join(dir.path, name), what: "worker-secret" }]);
    expect(look("good")).toEqual([{ target: "", ok: true, details: "worker-secret" }]);
    expect(look("group")[0]?.ok).toBe(true);
    expect(look("open")).toEqual([
      {
        target: `${dir.path}/open (worker-secret)`,
        ok: false,
        details: "mode 0644: everybody can read it",
        action: `Close it: chmod 600 ${dir.path}/open, and replace what is in it`,
      },
    ]);
    expect(look("writable")[0]).toMatchObject({ ok: false, details: "mode 0602: everybody can change it" });
    expect(look("missing")[0]).toMatchObject({ ok: false, details: "cannot be read: there is no such file" });
    expect(checkSecretFiles(here, [])[0]?.ok).toBeUndefined();
  });
});

describe("The disk", () => {
  const GIB = 1024 ** 3;
  const disk = { type: 0xef53, bsize: 4_096, bavail: (20 * GIB) / 4_096, files: 1_000_000, ffree: 500_000 };

  test("is told with what is free on it", () => {
    expect(judgeDisk("/data", disk)).toEqual({
      target: "/data",
      ok: true,
      details: "20 GiB free, and 500000 inodes",
    });
    // Some file systems make inodes as they need them.
    expect(judgeDisk("/data", { ...disk, files: 0, ffree: 0 })).toMatchObject({
      ok: true,
      details: "20 GiB free",
    });
  });

  test("is a warning before it is full, and a failure when it nearly is", () => {
    expect(judgeDisk("/data", { ...disk, bavail: GIB / 2 / 4_096 })).toMatchObject({
      ok: true,
      warning: true,
    });
    expect(judgeDisk("/data", { ...disk, bavail: GIB / 8 / 4_096 })).toMatchObject({
      ok: false,
      details: "128 MiB free, and 500000 inodes",
    });
    expect(judgeDisk("/data", { ...disk, ffree: 10 })).toMatchObject({
      ok: false,
      details: "20 GiB free, and 10 inodes: too few files can be made",
    });
  });

  test("is a warning where a database is not safe on it, whatever sign its number has", () => {
    for (const [type, word] of [
      [0x01021994, "tmpfs"],
      [0x6969, "NFS"],
      [0xff534d42, "SMB"],
      [0xff534d42 | 0, "SMB"],
      [0x794c7630, "overlay"],
    ] as const) {
      const outcome = judgeDisk("/data", { ...disk, type });
      expect(outcome).toMatchObject({ ok: true, warning: true });
      expect(outcome.details).toContain(word);
    }
  });

  test.if(onLinux)("of a real file system is found from a directory that is not there yet", () => {
    expect(checkDisk("/dev/shm/none/of/these").details).toMatch(
      /free, and \d+ inodes; it is memory \(tmpfs\)/,
    );
    using dir = privateDir();
    expect(checkDisk(join(dir.path, "none")).details).toMatch(/^[\d.]+ [GM]iB free/);
  });

  test.if(canMount())("that is full of files is a failure", async () => {
    using dir = privateDir();
    await Bun.$`mount -t tmpfs -o size=300m,nr_inodes=20,mode=700 none ${dir.path}`.quiet();
    try {
      const report = await doctor(["--listen=127.0.0.1:0", "--data-dir", dir.path]);
      expect(found(report, "disk")[0]).toMatch(
        /^FAIL \S+: 300 MiB free, and 19 inodes: too few files can be made → /,
      );
      writeFileSync(join(dir.path, "big"), Buffer.alloc(100 * 1024 ** 2), { mode: 0o600 });
      const full = await doctor(["--listen=127.0.0.1:0", "--data-dir", dir.path]);
      expect(found(full, "disk")[0]).toStartWith(
        `FAIL ${dir.path}: 200 MiB free, and 18 inodes → Free space`,
      );
    } finally {
      await Bun.$`umount ${dir.path}`.quiet();
    }
  });
});

/** Whether this machine lets its tests mount a file system. */
function canMount(): boolean {
  if (!isRoot || !onLinux) return false;
  using dir = privateDir();
  const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "none", dir.path]).success;
  if (mounted) Bun.spawnSync(["umount", dir.path]);
  return mounted;
}

describe("The clock", () => {
  const SERVICE = "Turn on the time service: sudo timedatectl set-ntp true";
  const clock = new ManualClock();

  function answer(dateMs: number | undefined, tookMs = 0): RelayAnswer {
    const askedMs = clock.wall();
    return {
      version: "",
      uptimeSecs: 0,
      ready: true,
      troubles: [],
      dateMs,
      askedMs,
      answeredMs: askedMs + tookMs,
    };
  }

  test("is compared with the relay's, with the second that its header leaves open and the time of the answer", () => {
    const at = (dateMs: number, tookMs = 0) =>
      checkClock(machine({ clock }), undefined, answer(clock.wall() + dateMs, tookMs));
    expect(at(0)).toMatchObject({ ok: true, details: "as the relay's" });
    expect(at(9_999).warning).toBeUndefined();
    expect(at(-10_999).warning).toBeUndefined();
    expect(at(25_000, 16_000).warning).toBeUndefined();
    expect(at(60_000)).toMatchObject({ ok: true, warning: true, details: "60 s behind the relay's" });
    expect(at(-61_000)).toMatchObject({ ok: true, warning: true, details: "60 s ahead of the relay's" });
    expect(at(3_600_000)).toMatchObject({
      ok: false,
      details: "60 min behind the relay's",
      action: `See which of the two is wrong. ${SERVICE}`,
    });
  });

  test("is what the system keeps right, where no relay tells the time", () => {
    const kept = (state: number | undefined) =>
      checkClock(machine({ timeState: () => state }), undefined, answer(undefined));
    expect(kept(0)).toMatchObject({ ok: true, details: "kept right by a time service" });
    expect(kept(5)).toMatchObject({ ok: true, warning: true, action: SERVICE });
    expect(kept(undefined).ok).toBeUndefined();
  });

  test("is wrong where files were written in its future", () => {
    using dir = privateDir();
    const file = dir.write("modelrelay.db", "");
    const now = machine().clock.wall();
    expect(checkClock(machine(), dir.path, undefined).ok).toBe(true);
    utimesSync(file, new Date(now), new Date(now + 86_400_000));
    const outcome = checkClock(machine(), dir.path, undefined);
    expect(outcome).toMatchObject({ ok: false, action: `Set the clock. ${SERVICE}` });
    expect(outcome.details).toMatch(
      /^files in the data directory were written (24 h|23 h 59|1440 min).* later than that$/,
    );
  });
});
