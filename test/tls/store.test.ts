import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { openStore } from "../../src/tls/store/store.ts";
import {
  DIRECTORY,
  DOMAIN,
  filesBelow,
  order,
  otherPair,
  pair,
  problemOf,
  storeFolder,
} from "./store-folder.ts";
import { filesWith, systemError } from "./stopping-files.ts";

describe("The store", () => {
  test("is empty before anything is saved, and looking makes no folder", async () => {
    using folder = storeFolder();
    const store = openStore(folder.dir, systemClock);
    expect(await store.domains()).toEqual([]);
    expect(await store.certificate(DOMAIN)).toBeUndefined();
    expect(await store.state(DOMAIN)).toEqual({ failures: 0 });
    expect(await store.pendingOrder(DOMAIN)).toBeUndefined();
    expect(await store.account(DIRECTORY)).toBeUndefined();
    expect(await store.challenge("token")).toBeUndefined();
    await store.dropPendingOrder(DOMAIN);
    await store.dropCertificate(DOMAIN);
    await store.dropChallenge("token");
    await store.retireAccount(DIRECTORY);
    expect(existsSync(folder.dir)).toBe(false);
  });

  test("gives back what was saved, also to another process", async () => {
    using folder = storeFolder();
    const store = openStore(folder.dir, systemClock);
    const state = {
      failures: 3,
      nextTryAt: 5,
      renewAt: 6,
      directoryUrl: DIRECTORY,
      lastError: { at: 1, message: "Cannot …", action: "Do …" },
      ari: { checkedAt: 1, retryAt: 2, start: 3, end: 4, explanationUrl: "https://ca.example/why" },
    };
    const account = { keyPem: pair.keyPem, accountUrl: "https://ca.example/a/1", email: "a@b.example", eabKid: "k" };
    await store.saveCertificate(DOMAIN, pair);
    await store.saveState(DOMAIN, state);
    await store.savePendingOrder(DOMAIN, order);
    await store.saveAccount(DIRECTORY, account);
    await store.saveChallenge("tok-en_1", "tok-en_1.thumb");
    for (const reader of [store, openStore(folder.dir, systemClock)]) {
      expect(await reader.certificate(DOMAIN)).toEqual(pair);
      expect(await reader.state(DOMAIN)).toEqual(state);
      expect(await reader.pendingOrder(DOMAIN)).toEqual(order);
      expect(await reader.account(DIRECTORY)).toEqual(account);
      expect(await reader.challenge("tok-en_1")).toBe("tok-en_1.thumb");
      expect(await reader.domains()).toEqual([DOMAIN]);
    }
  }); // prettier-ignore

  test("has one folder a domain, with the files that other programs look for", async () => {
    using folder = storeFolder();
    const store = openStore(folder.dir, systemClock);
    await store.saveCertificate("Relay.Example.com.", pair);
    await store.saveCertificate("con.example.com", pair);
    expect(filesBelow(folder.dir)).toEqual(
      ["_con.example.com", DOMAIN].flatMap((name) =>
        ["combined.pem", "fullchain.pem", "privkey.pem"].map((file) => `${name}/${file}`),
      ),
    );
    expect(readFileSync(join(folder.dir, DOMAIN, "fullchain.pem"), "utf8")).toBe(pair.chainPem);
    expect(readFileSync(join(folder.dir, DOMAIN, "privkey.pem"), "utf8")).toBe(pair.keyPem);
    expect(readFileSync(join(folder.dir, DOMAIN, "combined.pem"), "utf8")).toBe(pair.keyPem + pair.chainPem);
    expect(await store.domains()).toEqual(["con.example.com", DOMAIN]);
    await store.dropCertificate(DOMAIN);
    expect(await store.certificate(DOMAIN)).toBeUndefined();
  });

  test("lists no folder that is no domain's, and no file", async () => {
    using folder = storeFolder();
    const store = openStore(folder.dir, systemClock);
    await store.prove();
    for (const name of ["lost+found", ".git", "_relay.example.com", "con.example"]) mkdirSync(join(folder.dir, name));
    writeFileSync(join(folder.dir, "file.example"), "");
    await store.saveState(DOMAIN, { failures: 1 });
    expect(await store.domains()).toEqual([DOMAIN]);
  }); // prettier-ignore

  test.each(["../x", "a/b", "..", "a\\b", "a\u0000b", "*.example.com", ""])(
    "writes nothing for a name like %j",
    async (name) => {
      using folder = storeFolder();
      const store = openStore(folder.dir, systemClock);
      for (const work of [
        () => store.saveCertificate(name, pair),
        () => store.saveState(name, { failures: 0 }),
        () => store.savePendingOrder(name, order),
        () => store.certificate(name),
      ]) {
        expect((await problemOf(work())).message).toStartWith("Cannot use the domain");
      }
      expect(existsSync(folder.dir)).toBe(false);
    },
  );

  test("refuses a pair that does not match, and keeps the one before", async () => {
    using folder = storeFolder();
    const store = openStore(folder.dir, systemClock);
    await store.saveCertificate(DOMAIN, pair);
    const wrong = { chainPem: pair.chainPem, keyPem: otherPair.keyPem };
    expect((await problemOf(store.saveCertificate(DOMAIN, wrong))).message).toContain("the key does not belong");
    expect(await store.certificate(DOMAIN)).toEqual(pair);
  }); // prettier-ignore
});

describe("Answers to challenges", () => {
  test("are for their very token, whatever the file system makes of upper and lower case", async () => {
    using folder = storeFolder();
    const store = openStore(folder.dir, systemClock);
    await store.saveChallenge("AbCdEf", "AbCdEf.thumb");
    expect(await store.challenge("AbCdEf")).toBe("AbCdEf.thumb");
    for (const token of ["abcdef", "ABCDEF", "AbCdEf.", "", "../_challenges/AbCdEf", "AbC\u0000"]) {
      expect(await store.challenge(token)).toBeUndefined();
    }
    await store.dropChallenge("AbCdEf");
    expect(await store.challenge("AbCdEf")).toBeUndefined();
  });

  test("are not kept for what is no token, or for another token's answer", async () => {
    using folder = storeFolder();
    const store = openStore(folder.dir, systemClock);
    for (const [token, answer] of [["../x", "../x.t"], ["a", "b.t"], ["", ".t"]] as const) {
      expect((await problemOf(store.saveChallenge(token, answer))).message).toContain("is no token");
    }
    await store.dropChallenge("../x");
  }); // prettier-ignore

  test("are removed at the next start once they are a week old", async () => {
    using folder = storeFolder();
    await openStore(folder.dir, systemClock).saveChallenge("old", "old.t");
    await openStore(folder.dir, systemClock).saveChallenge("new", "new.t");
    const [name = ""] = readdirSync(join(folder.dir, "_challenges")).filter((file) => file.startsWith("old"));
    const weekAgo = Date.now() / 1_000 - 8 * 86_400;
    utimesSync(join(folder.dir, "_challenges", name), weekAgo, weekAgo);
    const store = openStore(folder.dir, systemClock);
    await store.domains();
    expect([await store.challenge("old"), await store.challenge("new")]).toEqual([undefined, "new.t"]);
  });
});

describe("An account", () => {
  test("can be added to, but its key is never replaced", async () => {
    using folder = storeFolder();
    const store = openStore(folder.dir, systemClock);
    await store.saveAccount(DIRECTORY, { keyPem: pair.keyPem });
    await store.saveAccount(DIRECTORY, { keyPem: `${pair.keyPem}\n`, accountUrl: "https://ca.example/a/1" });
    const problem = await problemOf(store.saveAccount(DIRECTORY, { keyPem: otherPair.keyPem }));
    expect(problem.message).toContain("the file holds another account's key");
    expect((await store.account(DIRECTORY))?.accountUrl).toBe("https://ca.example/a/1");
  });

  test("of two that are saved at once is the one that both read back", async () => {
    for (let round = 0; round < 20; round++) {
      using folder = storeFolder();
      const results = await Promise.allSettled(
        [pair, otherPair].map(({ keyPem }) => openStore(folder.dir, systemClock).saveAccount(DIRECTORY, { keyPem })),
      );
      const saved = results.map(({ status }) => status).indexOf("fulfilled");
      expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      const stored = await openStore(folder.dir, systemClock).account(DIRECTORY);
      expect(stored?.keyPem).toBe([pair, otherPair][saved]?.keyPem ?? "");
    }
  }); // prettier-ignore

  test("is saved where the file system knows no second names, too", async () => {
    using folder = storeFolder();
    const files = filesWith({ link: () => Promise.reject(systemError("EPERM")) });
    const store = openStore(folder.dir, systemClock, { files });
    await store.saveAccount(DIRECTORY, { keyPem: pair.keyPem });
    expect(await store.account(DIRECTORY)).toEqual({ keyPem: pair.keyPem });
    await problemOf(store.saveAccount(DIRECTORY, { keyPem: otherPair.keyPem }));
  });

  test("that is retired stays on the disk, and makes room for another", async () => {
    using folder = storeFolder();
    const store = openStore(folder.dir, systemClock);
    await store.saveAccount(DIRECTORY, { keyPem: pair.keyPem });
    await store.retireAccount(DIRECTORY);
    expect(await store.account(DIRECTORY)).toBeUndefined();
    await store.saveAccount(DIRECTORY, { keyPem: otherPair.keyPem });
    const files = readdirSync(join(folder.dir, "_accounts"));
    expect(files.filter((name) => /\.json\.retired-\d{8}T\d{6}Z$/.test(name))).toHaveLength(1);
    expect(files).toHaveLength(2);
  });

  test("is one for each directory", async () => {
    using folder = storeFolder();
    const store = openStore(folder.dir, systemClock);
    await store.saveAccount(DIRECTORY, { keyPem: pair.keyPem });
    expect(await store.account(`${DIRECTORY}2`)).toBeUndefined();
    expect(await store.account(DIRECTORY.toUpperCase())).toBeUndefined();
  });

  test("in a damaged file is a problem that names the file, and the file stays", async () => {
    using folder = storeFolder();
    const store = openStore(folder.dir, systemClock);
    await store.saveAccount(DIRECTORY, { keyPem: pair.keyPem });
    const [name = ""] = readdirSync(join(folder.dir, "_accounts"));
    const path = join(folder.dir, "_accounts", name);
    for (const damaged of [readFileSync(path, "utf8").slice(0, 90), "", "{}", '{"directoryUrl":"x","keyPem":"x"}']) {
      writeFileSync(path, damaged);
      const problem = await problemOf(store.account(DIRECTORY));
      expect(problem.message).toBe(`Cannot read the account in "${path}": the file is damaged`);
      expect(problem.action).toContain("backup");
      await problemOf(store.saveAccount(DIRECTORY, { keyPem: otherPair.keyPem }));
      expect(readFileSync(path, "utf8")).toBe(damaged);
    }
  }); // prettier-ignore
});
