import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { tarGz, zip, type Entry } from "../../scripts/archive.ts";
import { unpackTar } from "../../src/update/tar.ts";
import { unpackZip } from "../../src/update/zip.ts";
import { TempDir } from "../commands/reading.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const entry = (path: string, content: Uint8Array<ArrayBuffer> | string, executable = false): Entry => ({
  path,
  bytes: typeof content === "string" ? bytes(content) : content,
  executable,
});

const random = new Uint8Array(200_000);
for (let at = 0; at < random.length; at += 65_536) crypto.getRandomValues(random.subarray(at, at + 65_536));

const ENTRIES = [
  entry("top/modelrelay", random, true),
  entry("top/empty", ""),
  entry("top/block", "x".repeat(512)),
  entry("top/share/man/man1/modelrelay.1", "ü".repeat(300)),
];

/** Every file below a folder. */
function filesIn(dir: string): Record<string, Buffer> {
  const names = readdirSync(dir, { recursive: true, encoding: "utf8" });
  return Object.fromEntries(
    names
      .filter((name) => statSync(join(dir, name)).isFile())
      .sort()
      .map((name) => [name, readFileSync(join(dir, name))]),
  );
}

/** Unpacks into a folder of its own. @returns what is there, or the error */
async function unpacked(
  archive: Uint8Array,
  kind: "tar.gz" | "zip",
): Promise<Record<string, Buffer> | Error> {
  using dir = new TempDir();
  const file = join(dir.path, `archive.${kind}`);
  await Bun.write(file, archive);
  const out = join(dir.path, "out");
  mkdirSync(out);
  try {
    if (kind === "zip") await unpackZip(file, out);
    else await unpackTar(file, out);
    return filesIn(out);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    expect(readdirSync(dir.path).sort()).toEqual([`archive.${kind}`, "out"]);
    return error;
  }
}

/** What an archive is refused with. */
async function refusal(archive: Uint8Array, kind: "tar.gz" | "zip" = "tar.gz"): Promise<string> {
  const got = await unpacked(archive, kind);
  return got instanceof Error ? `${got.name}: ${got.message}` : `unpacked ${Object.keys(got).join(", ")}`;
}

const expected = Object.fromEntries(
  ENTRIES.map(({ path, bytes: content }) => [path, Buffer.from(content)] as const).sort(([a], [b]) =>
    a < b ? -1 : 1,
  ),
);

/** A tar archive that the system's own program makes. */
async function systemTar(files: Record<string, string>, flags: string[], links: Record<string, string> = {}) {
  using dir = new TempDir();
  const tree = join(dir.path, "tree");
  for (const [path, content] of Object.entries(files)) await Bun.write(join(tree, path), content);
  for (const [path, target] of Object.entries(links)) symlinkSync(target, join(tree, path));
  const file = join(dir.path, "a.tar.gz");
  const made = Bun.spawnSync(["tar", "-czf", file, ...flags, "-C", tree, "."]);
  if (!made.success) throw new Error(made.stderr.toString());
  return readFileSync(file);
}

describe("An archive", () => {
  test.each(["tar.gz", "zip"] as const)("as %s is unpacked to the byte", async (kind) => {
    const archive = kind === "zip" ? zip(ENTRIES, 1_700_000_000) : await tarGz(ENTRIES, 1_700_000_000);
    expect(await unpacked(archive, kind)).toEqual(expected);
  });

  test.each(["tar.gz", "zip"] as const)("as %s that leads out of its folder is refused", async (kind) => {
    for (const path of ["/etc/evil", "../evil", "top/../../evil", "top/..", "C:evil", "top\\evil"]) {
      const archive = kind === "zip" ? zip([entry(path, "x")], 0) : await tarGz([entry(path, "x")], 0);
      expect([path, await refusal(archive, kind)]).toEqual([
        path,
        "UnpackError: it holds a path that leads out of it",
      ]);
    }
  });

  test("as zip that is cut or changed anywhere is refused, or gives what was packed", async () => {
    const archive = zip([entry("a/b", "some text that is packed"), entry("c", "more")], 0);
    const whole = await unpacked(archive, "zip");
    for (let length = 0; length < archive.length; length++)
      expect(await unpacked(archive.slice(0, length), "zip")).toBeInstanceOf(Error);
    for (let at = 0; at < archive.length; at++) {
      const changed = archive.slice();
      changed[at] = changed[at]! ^ 0xff;
      const got = await unpacked(changed, "zip");
      if (got instanceof Error) continue;
      // What nobody reads, such as a date; or a name.
      const contents = (files: object) => Object.values(files).map(String).sort();
      expect([at, contents(got)]).toEqual([at, contents(whole)]);
    }
  });

  test("as tar that is cut is refused, wherever", async () => {
    const plain = Bun.gunzipSync(await tarGz([entry("a/b", "x".repeat(700)), entry("c", "y")], 0));
    // A block of zeros ends it; what is behind that is not looked at.
    const end = plain.length - 512;
    // Within blocks, and between them: one of these cuts is between the two files.
    const lengths = [37, 512].flatMap((step) =>
      Array.from({ length: Math.ceil(end / step) }, (_, n) => n * step),
    );
    for (const length of lengths) {
      const said = await refusal(Bun.gzipSync(plain.subarray(0, length)));
      expect([length, said]).toEqual([length, "UnpackError: it ends too early"]);
    }
    expect(await unpacked(Bun.gzipSync(plain.subarray(0, end)), "tar.gz")).not.toBeInstanceOf(Error);
    const packed = await tarGz(ENTRIES, 0);
    for (const length of [0, 1, 10, 1_000, packed.length - 20])
      expect(await unpacked(packed.slice(0, length), "tar.gz")).toBeInstanceOf(Error);
  });

  test("as tar with a damaged header is refused", async () => {
    const plain = Bun.gunzipSync(await tarGz([entry("a", "x")], 0));
    for (const at of [0, 100, 124, 148, 156, 300]) {
      const changed = plain.slice();
      changed[at] = changed[at]! ^ 0x01;
      expect([at, await refusal(Bun.gzipSync(changed))]).toEqual([at, "UnpackError: it is damaged"]);
    }
  });

  const long = `${"deep/".repeat(30)}${"n".repeat(120)}`;
  test.skipIf(Bun.which("tar") === null)(
    "of the system's tar is unpacked, with long names in its three ways",
    async () => {
      const files = { modelrelay: "x".repeat(5_000), [long]: "deep", ü: "umlaut" };
      for (const flags of [["--format=gnu"], ["--format=posix"], ["--format=ustar"]]) {
        const some =
          flags[0] === "--format=ustar" ? { modelrelay: "x", [`${"deep/".repeat(30)}n`]: "deep" } : files;
        const got = await unpacked(await systemTar(some, flags), "tar.gz");
        expect([
          flags,
          Object.fromEntries(Object.entries(got).map(([name, content]) => [name, String(content)])),
        ]).toEqual([flags, Object.fromEntries(Object.entries(some).sort(([a], [b]) => (a < b ? -1 : 1)))]);
      }
    },
  );

  test.skipIf(Bun.which("tar") === null || process.platform === "win32")(
    "with a link in it is refused",
    async () => {
      const archive = await systemTar({ a: "x" }, [], { link: "/etc/passwd" });
      expect(await refusal(archive)).toBe("UnpackError: it holds something that is neither file nor folder");
    },
  );

  test.each(["tar.gz", "zip"] as const)("as %s with names that cannot be had is refused", async (kind) => {
    const wrong = [
      // What makes zips here takes each name once.
      ...(kind === "zip" ? [] : [[entry("top/a", "x"), entry("top/a", "y")]]),
      [entry("top", "x"), entry("top/a", "y")],
      [entry(`top/${"n".repeat(256)}`, "x")],
    ];
    for (const entries of wrong) {
      const archive = kind === "zip" ? zip(entries, 0) : await tarGz(entries, 0);
      expect(await refusal(archive, kind)).toBe("UnpackError: a name in it is too long, or there twice");
    }
  });

  /** A ZIP archive of one file, whose entry in the list at its end is changed. */
  function changedEntry(change: (listed: Buffer) => void): Buffer {
    const archive = Buffer.from(zip([entry("a", "x")], 0));
    change(archive.subarray(archive.indexOf("PK\u0001\u0002")));
    return archive;
  }

  test("as zip with a link or a device in it is refused", async () => {
    for (const kind of [0o120777, 0o060600, 0o010600]) {
      const archive = changedEntry((listed) => listed.writeUInt16LE(kind, 40));
      expect(await refusal(archive, "zip")).toBe(
        "UnpackError: it holds something that is neither file nor folder",
      );
    }
  });

  test("as zip with a file of another sum or length is refused", async () => {
    const otherSum = changedEntry((listed) => listed.writeUInt32LE(1, 16));
    expect(await refusal(otherSum, "zip")).toBe("UnpackError: a file in it is damaged");
    const longer = changedEntry((listed) => listed.writeUInt32LE(2, 24));
    expect(await refusal(longer, "zip")).toBe("UnpackError: it is damaged");
  });

  test("that holds more than any release is refused before it fills the disk", async () => {
    const says = "UnpackError: it holds more than any release";
    const much = changedEntry((listed) => listed.writeUInt32LE(1024 * 1024 * 1024 + 1, 24));
    expect(await refusal(much, "zip")).toBe(says);
    // Blocks of zeros, of which gzip makes a thousandth.
    const zeros = Bun.gzipSync(new Uint8Array(64 * 1024 * 1024));
    expect(await refusal(Buffer.concat(Array.from({ length: 17 }, () => zeros)))).toBe(says);
  });

  test.skipIf(process.platform === "win32")("keeps the modes of its files", async () => {
    using dir = new TempDir();
    const file = join(dir.path, "a");
    await Bun.write(file, await tarGz([entry("x", "1", true), entry("y", "2")], 0));
    await unpackTar(file, dir.path);
    expect(["x", "y"].map((name) => statSync(join(dir.path, name)).mode & 0o111)).toEqual([0o111, 0]);
    rmSync(file);
  });
});
