import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { thisProcess } from "../../src/tls/store/process-identity.ts";
import { openStore } from "../../src/tls/store/store.ts";
import {
  DEAD_PID,
  DOMAIN,
  filesBelow,
  order,
  otherPair,
  pair,
  problemOf,
  storeFolder,
  warnings,
} from "./store-folder.ts";
import { filesWith, systemError } from "./stopping-files.ts";

describe("A damaged file", () => {
  test.each(["state.json", "order.json"])("%s is set aside once, and counts as absent", async (name) => {
    for (const damaged of ["", "{", '{"failures":', '{"failures":"many"}', "null", "[]", "\u0000\u0000"]) {
      using folder = storeFolder();
      const { log, lines } = warnings();
      const store = openStore(folder.dir, systemClock, { log });
      await store.saveState(DOMAIN, { failures: 1 });
      await store.savePendingOrder(DOMAIN, order);
      writeFileSync(join(folder.dir, DOMAIN, name), damaged);
      for (let look = 0; look < 2; look++) {
        const found = name === "state.json" ? await store.state(DOMAIN) : await store.pendingOrder(DOMAIN);
        expect(found).toEqual(name === "state.json" ? { failures: 0 } : undefined);
      }
      const aside = readdirSync(join(folder.dir, DOMAIN)).filter((file) =>
        file.startsWith(`${name}.broken-`),
      );
      expect(aside).toHaveLength(1);
      expect(readFileSync(join(folder.dir, DOMAIN, aside[0] ?? ""), "utf8")).toBe(damaged);
      expect(lines).toEqual([expect.stringContaining(`${name}" is damaged, so it was renamed to`)]);
    }
  });

  test("counts as absent on a disk that lets nothing be renamed, too", async () => {
    using folder = storeFolder();
    const { log, lines } = warnings();
    const files = filesWith({ rename: () => Promise.reject(systemError("EROFS")) });
    await openStore(folder.dir, systemClock).saveState(DOMAIN, { failures: 1 });
    writeFileSync(join(folder.dir, DOMAIN, "state.json"), "{");
    expect(await openStore(folder.dir, systemClock, { files, log }).state(DOMAIN)).toEqual({ failures: 0 });
    expect(lines[0]).toContain("read-only");
  });

  const cut = (text: string): string => text.slice(0, text.length * 0.5);
  const upToSecondMark = (text: string): string =>
    text.slice(0, text.lastIndexOf("-----BEGIN") + "-----BEG".length);
  test.each([
    ["is cut off", cut(pair.keyPem + pair.chainPem)],
    ["is cut off within the second certificate", (pair.keyPem + pair.chainPem).slice(0, -60)],
    ["is cut off within the second certificate's first line", upToSecondMark(pair.keyPem + pair.chainPem)],
    ["is empty", ""],
    ["has another's key", otherPair.keyPem + pair.chainPem],
  ])("combined.pem that %s is restored from its copies", async (_, damaged) => {
    using folder = storeFolder();
    await openStore(folder.dir, systemClock).saveCertificate(DOMAIN, pair);
    writeFileSync(join(folder.dir, DOMAIN, "combined.pem"), damaged);
    const { log, lines } = warnings();
    const store = openStore(folder.dir, systemClock, { log });
    expect(await store.certificate(DOMAIN)).toEqual(pair);
    expect(readFileSync(join(folder.dir, DOMAIN, "combined.pem"), "utf8")).toBe(pair.keyPem + pair.chainPem);
    expect(lines.join("\n")).toContain("combined.pem.broken-");
  });

  test("combined.pem without usable copies is set aside, so that a new one can be ordered", async () => {
    using folder = storeFolder();
    const store = openStore(folder.dir, systemClock);
    await store.saveCertificate(DOMAIN, pair);
    const file = (name: string): string => join(folder.dir, DOMAIN, name);
    writeFileSync(file("combined.pem"), cut(pair.keyPem + pair.chainPem));
    writeFileSync(file("privkey.pem"), "");
    expect(await store.certificate(DOMAIN)).toBeUndefined();
    expect(readdirSync(join(folder.dir, DOMAIN)).filter((name) => name.includes(".broken-"))).toHaveLength(1);
    await store.saveCertificate(DOMAIN, otherPair);
    expect(await store.certificate(DOMAIN)).toEqual(otherPair);
  });

  test("or an old one among the copies is put right by the next look", async () => {
    using folder = storeFolder();
    await openStore(folder.dir, systemClock).saveCertificate(DOMAIN, pair);
    const file = (name: string): string => join(folder.dir, DOMAIN, name);
    writeFileSync(file("fullchain.pem"), otherPair.chainPem);
    rmSync(file("privkey.pem"));
    expect(await openStore(folder.dir, systemClock).certificate(DOMAIN)).toEqual(pair);
    expect(readFileSync(file("fullchain.pem"), "utf8")).toBe(pair.chainPem);
    expect(readFileSync(file("privkey.pem"), "utf8")).toBe(pair.keyPem);
  });

  test("that another process wrote anew is seen by a store that has read the old one", async () => {
    using folder = storeFolder();
    const reader = openStore(folder.dir, systemClock);
    await openStore(folder.dir, systemClock).saveCertificate(DOMAIN, pair);
    expect(await reader.certificate(DOMAIN)).toEqual(pair);
    await openStore(folder.dir, systemClock).saveCertificate(DOMAIN, otherPair);
    expect(await reader.certificate(DOMAIN)).toEqual(otherPair);
  });
});

describe("Unfinished files", () => {
  const host = thisProcess().host;
  const dayAgo = Date.now() / 1_000 - 2 * 86_400;

  test("of processes that have ended go at the next start, others stay for a day", async () => {
    using folder = storeFolder();
    await openStore(folder.dir, systemClock).saveState(DOMAIN, { failures: 1 });
    const leave = (name: string, age?: number): void => {
      writeFileSync(join(folder.dir, DOMAIN, name), "half");
      if (age !== undefined) utimesSync(join(folder.dir, DOMAIN, name), age, age);
    };
    leave(`combined.pem.${host}-${DEAD_PID}-00000001.tmp`);
    leave(`combined.pem.${host}-${process.pid}-00000002.tmp`);
    leave("combined.pem.0badc0de-1-00000003.tmp");
    leave("combined.pem.0badc0de-1-00000004.tmp", dayAgo);
    leave("notes.tmp", dayAgo);
    writeFileSync(join(folder.dir, `probe-1.${host}-${DEAD_PID}-00000005.tmp`), "half");
    await openStore(folder.dir, systemClock).domains();
    expect(filesBelow(folder.dir)).toEqual([
      `${DOMAIN}/combined.pem.${host}-${process.pid}-00000002.tmp`,
      `${DOMAIN}/combined.pem.0badc0de-1-00000003.tmp`,
      `${DOMAIN}/notes.tmp`,
      `${DOMAIN}/state.json`,
    ].sort());
  }); // prettier-ignore

  test("are removed when writing fails, and the file before stays", async () => {
    using folder = storeFolder();
    await openStore(folder.dir, systemClock).saveState(DOMAIN, { failures: 1 });
    const files = filesWith({ rename: () => Promise.reject(systemError("EIO")) });
    const store = openStore(folder.dir, systemClock, { files });
    expect((await problemOf(store.saveState(DOMAIN, { failures: 2 }))).message).toContain("disk reports an error");
    expect(filesBelow(folder.dir)).toEqual([`${DOMAIN}/state.json`]);
    expect(await store.state(DOMAIN)).toEqual({ failures: 1 });
  }); // prettier-ignore
});
