import { afterAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { SQL } from "bun";
import type { KeptBodies } from "../../../src/server/bodies/body-store.ts";
import { DATABASE_FILE } from "../../../src/server/store/store.ts";
import { DATABASE_KINDS, usage } from "./stores.ts";

const MIB = 1024 * 1024;

const bytes = (text: string) => new Uint8Array(Buffer.from(text));

function bodies(id: string, fields: Partial<KeptBodies> = {}): KeptBodies {
  return {
    id,
    at: 1_790_000_000_000,
    request: { kept: bytes(`question ${id}`), bytes: 20 },
    answer: { kept: bytes(`answer ${id}`), bytes: 30 },
    ...fields,
  };
}

/** Every value of a byte, and nothing that is text. */
const BINARY = Uint8Array.from({ length: 512 }, (_, n) => n & 0xff);

for (const kind of DATABASE_KINDS) {
  describe.skipIf(kind.skip)(`Bodies in ${kind.name}`, () => {
    afterAll(() => kind.stop());

    test("come back byte for byte, whatever they are", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const kept = [
        bodies("text", { request: { kept: bytes('{"q":"Zoë ключ 🔑 \\u0000"}\0'), bytes: 99 } }),
        bodies("binary", { request: { kept: BINARY, bytes: 512 }, answer: { kept: BINARY, bytes: 1e12 } }),
        bodies("nothing", {
          request: { kept: bytes(""), bytes: 0 },
          answer: { kept: bytes(""), bytes: 0 },
        }),
        bodies("large", { answer: { kept: new Uint8Array(2 * MIB).fill(7), bytes: 3 * MIB } }),
      ];
      await store.insertBodies(kept);
      for (const each of kept) expect(await store.findBodies(each.id)).toEqual(each);
      expect(await store.findBodies("another")).toBeUndefined();
    });

    test("are stored once, the first that came", async () => {
      await using database = await kind.create();
      const store = await database.open();
      await store.insertBodies([bodies("a")]);
      await store.insertBodies([bodies("a", { answer: { kept: BINARY, bytes: 512 } }), bodies("b")]);
      expect([await store.findBodies("a"), await store.findBodies("b")]).toEqual([bodies("a"), bodies("b")]);
    });

    test("are removed by their age, in pages of 200 or 4 MiB", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const large = { kept: new Uint8Array(1.5 * MIB), bytes: 1.5 * MIB };
      await store.insertBodies(Array.from({ length: 300 }, (_, n) => bodies(`old ${n}`, { at: n })));
      for (let n = 0; n < 3; n++)
        await store.insertBodies([bodies(`l${n}`, { at: 1_000 + n, answer: large })]);
      await store.insertBodies([bodies("new", { at: 2_000 })]);
      const pages: [number, boolean][] = [];
      for (let more = true; more;) {
        const page = await store.removeBodies(2_000);
        pages.push([page.removed, page.more]);
        ({ more } = page);
      }
      expect(pages).toEqual([
        [200, true],
        [102, true],
        [1, false],
      ]);
      expect((await store.check()).rows.bodies).toBe(1);
      expect(await store.findBodies("new")).toEqual(bodies("new", { at: 2_000 }));
      expect(await store.removeBodies(2_000)).toEqual({ removed: 0, more: false });
    });

    test("that are larger than a page are removed alone", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const huge = { kept: new Uint8Array(5 * MIB), bytes: 5 * MIB };
      await store.insertBodies([bodies("a", { answer: huge }), bodies("b", { answer: huge })]);
      const before = Number.MAX_SAFE_INTEGER;
      expect(await store.removeBodies(before)).toEqual({ removed: 1, more: true });
      expect(await store.removeBodies(before)).toEqual({ removed: 1, more: false });
    });

    test("stand beside the record of their request, which is found by its id", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const row = usage({ keyName: "ada", queueMs: 3 });
      await store.insertUsage([row, usage()]);
      expect(await store.findRequest(row.id)).toEqual(row);
      expect(await store.findRequest("another")).toBeUndefined();
    });
  });
}

describe("Bodies that were removed from SQLite", () => {
  const [sqlite] = DATABASE_KINDS;

  test("cannot be read in its files any more, once the journal is written back", async () => {
    await using database = await sqlite!.create();
    const store = await database.open();
    const secret = "a prompt that nobody is to read";
    const long = { kept: bytes(`${secret} `.repeat(20_000)), bytes: 1 };
    await store.insertBodies([bodies("short", { request: { kept: bytes(secret), bytes: 1 } })]);
    await store.insertBodies([bodies("long", { request: long, answer: long })]);
    const { dataDir } = database.options;
    const isThere = () =>
      readdirSync(dataDir).some((name) => readFileSync(join(dataDir, name)).includes(secret));
    const writeBack = async (): Promise<void> => {
      await using sql = new SQL({ adapter: "sqlite", filename: join(dataDir, DATABASE_FILE) });
      await sql`PRAGMA wal_checkpoint(TRUNCATE)`;
    };
    await writeBack();
    expect(isThere()).toBe(true);
    expect(await store.removeBodies(Number.MAX_SAFE_INTEGER)).toEqual({ removed: 2, more: false });
    await writeBack();
    expect(isThere()).toBe(false);
  });
});
