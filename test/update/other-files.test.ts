import { expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { placeOtherFiles } from "../../src/update/other-files.ts";
import { TempDir } from "../commands/reading.ts";

test.skipIf(process.platform === "win32")(
  "The manual and completions are for everybody, whatever umask root has and whatever the archive says",
  async () => {
    using dir = new TempDir();
    const before = process.umask(0o077);
    try {
      await Bun.write(join(dir.path, "share/doc/modelrelay/made-folders"), "");
      const unpacked = join(dir.path, "unpacked");
      await Bun.write(join(unpacked, "share/man/man1/modelrelay.1"), "x");
      expect(placeOtherFiles(unpacked, join(dir.path, "bin/modelrelay"))).toBeUndefined();
    } finally {
      process.umask(before);
    }
    const modes = ["share/man", "share/man/man1", "share/man/man1/modelrelay.1"].map(
      (path) => statSync(join(dir.path, path)).mode & 0o777,
    );
    expect(modes).toEqual([0o755, 0o755, 0o644]);
  },
);
