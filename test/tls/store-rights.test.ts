import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, lchownSync, mkdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { openStore } from "../../src/tls/store/store.ts";
import {
  DIRECTORY,
  DOMAIN,
  filesBelow,
  order,
  pair,
  problemOf,
  storeFolder,
  warnings,
} from "./store-folder.ts";
import { filesWith, systemError } from "./stopping-files.ts";

const NOBODY = 65_534;
const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);

// Windows keeps no such bits.
if (process.platform !== "win32") {
  describe("Rights", () => {
    test.each([0o000, 0o022, 0o077, 0o777])("are the user's alone under a umask of %o", async (mask) => {
      using folder = storeFolder();
      const before = process.umask(mask);
      try {
        const store = openStore(folder.dir, systemClock);
        await store.prove();
        await store.saveCertificate(DOMAIN, pair);
        await store.saveState(DOMAIN, { failures: 0 });
        await store.savePendingOrder(DOMAIN, order);
        await store.saveAccount(DIRECTORY, { keyPem: pair.keyPem });
        await store.saveChallenge("token", "token.t");
        await (await store.lock(DOMAIN)).release();
      } finally {
        process.umask(before);
      }
      const found = filesBelow(folder.dir);
      expect(found).toHaveLength(8);
      for (const name of found) expect([name, modeOf(join(folder.dir, name))]).toEqual([name, "600"]);
      for (const name of ["", DOMAIN, "_accounts", "_challenges", "_locks", ".."]) {
        expect([name, modeOf(join(folder.dir, name))]).toEqual([name, "700"]);
      }
    });

    test("that are too open are put right at the next start, and that is told", async () => {
      using folder = storeFolder();
      await openStore(folder.dir, systemClock).saveCertificate(DOMAIN, pair);
      const key = join(folder.dir, DOMAIN, "privkey.pem");
      chmodSync(key, 0o644);
      chmodSync(join(folder.dir, DOMAIN), 0o755);
      const { log, lines } = warnings();
      await openStore(folder.dir, systemClock, { log }).certificate(DOMAIN);
      expect([modeOf(key), modeOf(join(folder.dir, DOMAIN))]).toEqual(["600", "700"]);
      expect(lines).toContain(`"${key}" was open to other users (0644), now it is not`);
      expect(lines).toHaveLength(2);
    });

    // Only root can give files away.
    test.skipIf(process.getuid?.() !== 0)("are the folder's owner's where root writes into it", async () => {
      using folder = storeFolder();
      const above = dirname(folder.dir);
      mkdirSync(above);
      chownSync(above, NOBODY, NOBODY);
      const store = openStore(folder.dir, systemClock);
      await store.prove();
      await store.saveCertificate(DOMAIN, pair);
      await store.saveAccount(DIRECTORY, { keyPem: pair.keyPem });
      await (await store.lock(DOMAIN)).release();
      const names = ["", DOMAIN, "_accounts", "_locks", ...filesBelow(folder.dir)];
      for (const name of names) {
        const { uid, gid } = statSync(join(folder.dir, name));
        expect([name, uid, gid]).toEqual([name, NOBODY, NOBODY]);
      }
    });

    test.skipIf(process.getuid?.() !== 0)("behind a link of another user are left alone", async () => {
      using folder = storeFolder();
      const victim = join(dirname(folder.dir), "victim");
      mkdirSync(victim, { recursive: true });
      chmodSync(victim, 0o755);
      writeFileSync(join(victim, "x.pem"), "", { mode: 0o644 });
      mkdirSync(folder.dir);
      const planted = join(folder.dir, DOMAIN);
      symlinkSync(victim, planted);
      lchownSync(planted, NOBODY, NOBODY);
      const { log, lines } = warnings();
      await openStore(folder.dir, systemClock, { log }).state("other.example");
      expect([modeOf(victim), modeOf(join(victim, "x.pem"))]).toEqual(["755", "644"]);
      expect(lines.at(-1)).toBe(
        `"${planted}" is a link that another user made; what is behind it is left as it is`,
      );
    });

    test("that cannot be put right are told, and the certificate is served all the same", async () => {
      using folder = storeFolder();
      await openStore(folder.dir, systemClock).saveCertificate(DOMAIN, pair);
      chmodSync(join(folder.dir, DOMAIN, "privkey.pem"), 0o604);
      const { log, lines } = warnings();
      const files = filesWith({ chmod: () => Promise.reject(systemError("EPERM")) });
      expect(await openStore(folder.dir, systemClock, { log, files }).certificate(DOMAIN)).toEqual(pair);
      expect(lines).toEqual([expect.stringContaining('privkey.pem" is open to other users (0604)')]);
    });
  });
}

describe("On Windows", () => {
  const refuse = (code: string) => () => Promise.reject(systemError(code));

  test("neither rights nor folders are asked to do what they cannot", async () => {
    using folder = storeFolder();
    const files = filesWith({ platform: "win32", chmod: refuse("EPERM"), syncFolder: refuse("EPERM") });
    const store = openStore(folder.dir, systemClock, { files });
    await store.prove();
    await store.saveCertificate(DOMAIN, pair);
    expect(await store.certificate(DOMAIN)).toEqual(pair);
  });

  test("a file that somebody has open is replaced as soon as it is given free", async () => {
    using folder = storeFolder();
    let refused = 0;
    const { rename } = filesWith({});
    const files = filesWith({
      platform: "win32",
      rename: async (from, to) => {
        if (++refused <= 3) throw systemError(refused === 1 ? "EPERM" : "EBUSY");
        await rename(from, to);
      },
    });
    const store = openStore(folder.dir, systemClock, { files });
    await store.saveState(DOMAIN, { failures: 7 });
    expect([refused, await store.state(DOMAIN)]).toEqual([4, { failures: 7 }]);
  });

  test("one that stays open is a problem in the end", async () => {
    using folder = storeFolder();
    const files = filesWith({ platform: "win32", rename: refuse("EBUSY") });
    const problem = await problemOf(openStore(folder.dir, systemClock, { files }).saveState(DOMAIN, { failures: 1 }));
    expect(problem.message).toContain("state.json");
  }); // prettier-ignore
});
