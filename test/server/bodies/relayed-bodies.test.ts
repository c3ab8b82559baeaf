import { afterAll, describe, expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLog } from "../../../src/base/log.ts";
import { keepBodies } from "../../../src/server/bodies/index.ts";
import type { KeptBodies } from "../../../src/server/bodies/body-store.ts";
import type { RequestRecord } from "../../../src/server/request-record.ts";
import { openStore, type Store } from "../../../src/server/store/store.ts";
import type { Usage } from "../../../src/server/usage/index.ts";
import { startRig, type Rig, type RigOptions } from "../../faults/rig.ts";
import { Inbox } from "../../support/inbox.ts";
import { MemoryBodyStore } from "../../support/memory-body-store.ts";
import { lacksPart } from "../../support/parts.ts";
import { DATABASE_KINDS, sharedPostgres, stopPostgres, type DatabaseKind } from "../store/stores.ts";
import { CHAT, EXTRA } from "../usage/recorded.ts";

const LIMIT = 1024 * 1024;

const chat = JSON.stringify({ model: "m", stream: true, messages: [{ role: "user", content: "hello Zoë" }] });

interface BodiesRig extends Rig {
  records: Inbox<RequestRecord>;
  ask(path: string, body: string | Uint8Array<ArrayBuffer>, init?: RequestInit): Promise<Response>;
  /** What is kept of the next request that has ended. */
  kept(): Promise<KeptBodies | undefined>;
}

type TestStore = Pick<Store, "insertBodies" | "findBodies" | "removeBodies">;

/** A rig that keeps bodies in the store. */
async function bodiesRig(store: TestStore, limit = LIMIT, options: RigOptions = {}): Promise<BodiesRig> {
  const records = new Inbox<RequestRecord>();
  const written = new Inbox<string>();
  const telling: TestStore = {
    findBodies: (id) => store.findBodies(id),
    removeBodies: (before) => store.removeBodies(before),
    async insertBodies(bodies) {
      await store.insertBodies(bodies);
      for (const { id } of bodies) written.put(id);
    },
  };
  const usage: Usage = {
    ended: (record) => records.put(record),
    routes: [],
    backlog: () => ({ bytes: 0, lost: 0 }),
    warnings: () => [],
    async close() {},
  };
  const bodies = keepBodies({ store: telling, limit, clock: systemClock, log: silentLog });
  const rig = await startRig({ usage, bodies, ...options });
  return {
    ...rig,
    records,
    ask: (path, body, init = {}) =>
      fetch(`http://127.0.0.1:${rig.port}${path}`, { method: "POST", body, keepalive: false, ...init }),
    async kept() {
      const { id, at } = await records.next();
      await written.next((each) => each === id);
      const found = await store.findBodies(id);
      expect(found?.at).toBe(at);
      return found;
    },
  };
}

const whole = (text: string | Uint8Array) => {
  const kept = new Uint8Array(Buffer.from(text));
  return { kept, bytes: kept.length };
};

/** Reads until so much has come. */
async function readAll(reader: { read(): Promise<{ value?: Uint8Array }> }, length: number): Promise<void> {
  for (let read = 0; read < length;) read += (await reader.read()).value?.length ?? 0;
}

async function testStore(kind: DatabaseKind): Promise<{ store: Store } & AsyncDisposable> {
  const database = await kind.create();
  return { store: await database.open(), [Symbol.asyncDispose]: () => database[Symbol.asyncDispose]() };
}

for (const kind of DATABASE_KINDS) {
  describe.skipIf(kind.skip)(`Bodies of relayed requests, in ${kind.name}`, () => {
    afterAll(() => kind.stop());

    for (const linkVersion of ["v1", "auto"] as const) {
      test(`are kept byte for byte, of whole answers and of errors, ${linkVersion}`, async () => {
        await using database = await testStore(kind);
        await using rig = await bodiesRig(database.store, LIMIT, { worker: { linkVersion } });
        for (const status of [200, 400]) {
          const question = JSON.stringify({ model: "m", input: `ask ${status} 🔑` });
          const answering = rig.ask("/v1/embeddings", question);
          const exchange = await rig.backend.next();
          exchange.answer(status, { object: "list", text: "Ключ" });
          const answer = await (await answering).text();
          expect(await rig.kept()).toMatchObject({ request: whole(question), answer: whole(answer) });
        }
      });

      test(`are kept of a stream as its client sent and got it, ${linkVersion}`, async () => {
        await using database = await testStore(kind);
        await using rig = await bodiesRig(database.store, LIMIT, { worker: { linkVersion } });
        const answering = rig.ask("/v1/chat/completions", chat);
        const exchange = await rig.backend.next();
        // What the relay asks for on its own account is not the client's.
        expect(exchange.body.toString()).toContain("include_usage");
        exchange.head(200, { "content-type": "text/event-stream" });
        for (const part of CHAT.parts) {
          exchange.write(part);
          await exchange.flushed();
        }
        exchange.end();
        const answer = await (await answering).text();
        expect(answer).not.toContain(EXTRA);
        expect(await rig.kept()).toMatchObject({ request: whole(chat), answer: whole(answer) });
      });

      test(`are kept of what was there when a stream breaks off, ${linkVersion}`, async () => {
        await using database = await testStore(kind);
        await using rig = await bodiesRig(database.store, LIMIT, { worker: { linkVersion } });
        const answering = rig.ask("/v1/messages", chat);
        const exchange = await rig.backend.next();
        exchange.head(200, { "content-type": "text/event-stream" });
        const begun = CHAT.parts.slice(0, 5).join("");
        exchange.write(begun);
        const reader = (await answering).body!.getReader();
        await readAll(reader, begun.length);
        exchange.reset();
        // The relay's own word about it is in the request's record.
        expect(await rig.kept()).toMatchObject({ request: whole(chat), answer: whole(begun) });
      });
    }

    test("are kept of what its client was given before it left", async () => {
      await using database = await testStore(kind);
      await using rig = await bodiesRig(database.store);
      const leaving = new AbortController();
      const answering = rig.ask("/v1/messages", chat, { signal: leaving.signal });
      const exchange = await rig.backend.next();
      exchange.head(200, { "content-type": "text/event-stream" });
      const begun = CHAT.parts.slice(0, 4).join("");
      exchange.write(begun);
      await readAll((await answering).body!.getReader(), begun.length);
      leaving.abort();
      expect(await rig.kept()).toMatchObject({ request: whole(chat), answer: whole(begun) });
    });

    test("are kept as they are where they are no text", async () => {
      await using database = await testStore(kind);
      await using rig = await bodiesRig(database.store, LIMIT, { worker: { linkVersion: "auto" } });
      const sound = Uint8Array.from({ length: 70_000 }, (_, n) => (n * 7) & 0xff);
      const answering = rig.ask("/v1/audio/transcriptions?model=m", sound, {
        headers: { "content-type": "audio/wav" },
      });
      const exchange = await rig.backend.next();
      exchange.head(200, { "content-type": "audio/wav" });
      exchange.write(sound);
      exchange.end();
      expect(new Uint8Array(await (await answering).arrayBuffer())).toEqual(sound);
      expect(await rig.kept()).toMatchObject({ request: whole(sound), answer: whole(sound) });
    });

    test("are cut at the limit, and nothing of what passes is", async () => {
      await using database = await testStore(kind);
      await using rig = await bodiesRig(database.store, 1024);
      const question = JSON.stringify({ model: "m", input: "q".repeat(5_000) });
      const answering = rig.ask("/v1/embeddings", question);
      const exchange = await rig.backend.next();
      expect(exchange.body.toString()).toBe(question);
      const text = "a".repeat(100_000);
      exchange.head(200, { "content-type": "text/plain" });
      exchange.write(text);
      exchange.end();
      expect(await (await answering).text()).toBe(text);
      expect(await rig.kept()).toMatchObject({
        request: { kept: whole(question.slice(0, 1024)).kept, bytes: question.length },
        answer: { kept: whole(text.slice(0, 1024)).kept, bytes: 100_000 },
      });
    });

    test("are not kept of what no worker was given", async () => {
      await using database = await testStore(kind);
      await using rig = await bodiesRig(database.store);
      const refused = await rig.ask("/v1/embeddings", JSON.stringify({ model: "another", input: "x" }));
      expect(refused.status).toBe(404);
      const { id } = await rig.records.next();
      const answering = rig.ask("/v1/embeddings", JSON.stringify({ model: "m", input: "x" }));
      (await rig.backend.next()).answer(200, {});
      await (await answering).text();
      await rig.kept();
      expect([await database.store.findBodies(id), (await database.store.check()).rows.bodies]).toEqual([
        undefined,
        1,
      ]);
    });
  });
}

describe.skipIf(lacksPart("postgres"))("Bodies while PostgreSQL is away", () => {
  afterAll(stopPostgres);

  test("wait for it, the requests do not, and readyz says so until they are stored", async () => {
    const server = await sharedPostgres();
    const url = await server.createDatabase();
    await using store = await openStore({ dataDir: "/nowhere", url }, { clock: systemClock });
    await using rig = await bodiesRig(store);
    const ready = async () =>
      (await fetch(`http://127.0.0.1:${rig.port}/readyz`, { keepalive: false })).text();
    await server.kill();
    const asked = ["one", "two", "three"].map((input) => JSON.stringify({ model: "m", input }));
    for (const question of asked) {
      const answering = rig.ask("/v1/embeddings", question);
      (await rig.backend.next()).answer(200, {});
      expect((await answering).status).toBe(200);
      await (await answering).text();
    }
    while (!(await ready()).includes("bodies of 3 requests wait to be stored"));
    await server.start();
    for (const question of asked) expect(await rig.kept()).toMatchObject({ request: whole(question) });
    while ((await ready()).includes("bodies of"));
  }, 30_000);
});

describe("Bodies of relayed requests", () => {
  test("are lost where the database takes none and the memory for them is full, and requests go on", async () => {
    const store = new MemoryBodyStore();
    store.before = () => {
      throw new Error("it is gone");
    };
    const bodies = keepBodies({ store, limit: 32 * LIMIT, clock: systemClock, log: silentLog });
    await using rig = await startRig({ bodies, relay: { openMetrics: true } });
    const question = JSON.stringify({ model: "m", input: "q".repeat(20 * LIMIT) });
    for (let n = 0; n < 5; n++) {
      const answering = fetch(`http://127.0.0.1:${rig.port}/v1/embeddings`, {
        method: "POST",
        body: question,
        keepalive: false,
      });
      (await rig.backend.next()).answer(200, { n });
      expect(await (await answering).json()).toEqual({ n });
    }
    const ready = await fetch(`http://127.0.0.1:${rig.port}/readyz`, { keepalive: false });
    expect(JSON.stringify(await ready.json())).toContain("bodies of 2 requests are lost");
    const metrics = await fetch(`http://127.0.0.1:${rig.port}/metrics`, { keepalive: false });
    expect(await metrics.text()).toMatch(/^modelrelay_bodies_lost_total 2$/m);
    expect(store.rows.size).toBe(0);
    store.before = () => {};
  });

  test("are looked for by nobody where they are not to be kept", async () => {
    const records = new Inbox<RequestRecord>();
    const usage: Usage = {
      ended: (record) => records.put(record),
      routes: [],
      backlog: () => ({ bytes: 0, lost: 0 }),
      warnings: () => [],
      async close() {},
    };
    await using rig = await startRig({ usage });
    const answering = fetch(`http://127.0.0.1:${rig.port}/v1/embeddings`, {
      method: "POST",
      body: JSON.stringify({ model: "m", input: "x" }),
      keepalive: false,
    });
    (await rig.backend.next()).answer(200, {});
    await (await answering).text();
    expect((await records.next()).bodies).toBeUndefined();
  });
});
