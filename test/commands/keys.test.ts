import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { main } from "../../src/commands/main.ts";
import { writeRelayFile } from "../../src/commands/relay-file.ts";
import { LocalProof } from "../../src/server/local-proof.ts";
import { startRelay, type PlainRelay } from "../../src/server/index.ts";
import { KeyRing } from "../../src/server/keys/key-ring.ts";
import { openStore, type Store } from "../../src/server/store/store.ts";
import { relayConfig } from "../support/relays.ts";
import { TempDir } from "./reading.ts";

const TOKEN = "token-of-the-operator";

interface Ran {
  code: number;
  out: string;
  err: string;
}

/** Types a command for the relay of a data directory. */
async function type(dataDir: string, line: string, env: Record<string, string> = {}): Promise<Ran> {
  const ran = { code: 0, out: "", err: "" };
  ran.code = await main([...line.split(" "), "--data-dir", dataDir], {
    env,
    out: async (text) => void (ran.out += text),
    err: (text) => void (ran.err += text),
  });
  return ran;
}

/** Fails unless the command succeeds. */
async function json<T>(dataDir: string, line: string): Promise<T> {
  const { code, out, err } = await type(dataDir, `${line} --json`);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  return JSON.parse(out) as T;
}

type Key = Record<string, unknown> & { id: string; name: string; secret: string };

/** The same promises hold whether a relay runs or not. */
function keysWork(where: string, dataDir: () => string): void {
  describe(where, () => {
    test("a key is made, listed, shown, changed and revoked", async () => {
      const dir = dataDir();
      const made = await type(
        dir,
        "keys create ada --models m,n --rpm 60 --tpm 1000 --concurrency 4 --priority high --budget-tokens 5000 --budget-period day --expires 2099-01-31",
      );
      expect(made.code).toBe(0);
      expect(made.out).toMatch(/^mr_live_[0-9A-Za-z]{43}\n$/);
      expect(made.err).toContain("shown only now");
      const shown = await json<Key>(dir, "keys show ada");
      expect(shown).toMatchObject({
        name: "ada",
        prefix: made.out.slice(0, 16),
        models: ["m", "n"],
        rpm: 60,
        tpm: 1000,
        concurrency: 4,
        priority: "high",
        budget: { tokens: 5000, period: "day" },
        expires_at: "2099-01-31T00:00:00.000Z",
        revoked: false,
      });
      expect(shown.secret).toBeUndefined();
      const { keys } = await json<{ keys: Key[] }>(dir, "keys list");
      expect(keys).toContainEqual(shown);
      const table = await type(dir, "keys list");
      expect(table.out).toMatch(/^NAME +BEGINS WITH +STATE +MODELS +LIMITS +LAST USED\n/);
      expect(table.out).toMatch(
        /^ada +mr_live_\w{8} +until 2099-01-31 00:00 +m,n +high priority, 60 requests\/min, .*5000 tokens\/day +never$/m,
      );
      expect(
        await json<Key>(
          dir,
          "keys update ada --new-name eve --models all --rpm 0 --budget-period month --expires never",
        ),
      ).toMatchObject({
        id: shown.id,
        name: "eve",
        models: null,
        rpm: null,
        tpm: 1000,
        budget: { tokens: 5000, period: "month" },
        expires_at: null,
      });
      expect(await json<Key>(dir, "keys update eve --expires 2030-01-31T00:30:00+02:00")).toMatchObject({
        expires_at: "2030-01-30T22:30:00.000Z",
      });
      // By how it begins; the whole key will do as well.
      expect(await json<Key>(dir, `keys show ${made.out.trim()}`)).toMatchObject({ name: "eve" });
      expect(await json<Key>(dir, "keys revoke eve")).toEqual({
        id: shown.id,
        name: "eve",
        revoked: true,
      } as never);
      expect(await json<Key>(dir, `keys show ${shown.id}`)).toMatchObject({ revoked: true });
      expect((await type(dir, "keys show eve")).out).toMatch(/^state +revoked$/m);
      const again = await type(dir, "keys update eve --rpm 5");
      expect(again).toMatchObject({ code: 1, out: "" });
      expect(again.err).toContain("A key that was revoked cannot be changed");
    });

    test("a worker secret is made, listed and revoked", async () => {
      const dir = dataDir();
      const made = await type(dir, "workers secret create box --models m");
      expect(made.out).toMatch(/^mr_work_[0-9A-Za-z]{43}\n$/);
      expect((await type(dir, "workers secret list")).out).toMatch(/^box +mr_work_\w{8} +valid +m /m);
      expect((await type(dir, "workers secret revoke box")).out).toBe("box: revoked\n");
      expect((await type(dir, "workers secret list")).out).toMatch(/^box +mr_work_\w{8} +revoked /m);
    });

    test("a name that several keys have is not guessed at", async () => {
      const dir = dataDir();
      const twins = [await json<Key>(dir, "keys create twin"), await json<Key>(dir, "keys create twin")];
      expect(await type(dir, "keys revoke twin")).toEqual({
        code: 2,
        out: "",
        err: `error: Cannot tell which key "twin" is meant: 2 have this name\n  → Name it by its id: ${twins.map(({ id }) => id).join(", ")}\n`,
      });
      await json(dir, `keys revoke ${twins[0]!.id}`);
      // One of them is left.
      expect(await json<Key>(dir, "keys revoke twin")).toMatchObject({ id: twins[1]!.id });
    });

    const MISTAKES: [line: string, err: string][] = [
      [
        "keys create",
        "error: Cannot do that without a name: NAME is missing\n  → Write: modelrelay keys create NAME\n",
      ],
      [
        "keys create a b",
        'error: Cannot use "b": "modelrelay keys create" takes only NAME, flags\n  → See all with: modelrelay help keys create\n',
      ],
      ["keys show absent", 'error: Cannot find key "absent"\n  → See all with: modelrelay keys list\n'],
      [
        "keys create a --rpm many",
        'error: Cannot use "many" as rpm (flag --rpm): expected a whole number from 0 to 1000000000000\n',
      ],
      [
        "keys create a --expires 30",
        'error: Cannot use "30" as expires (flag --expires): expected a duration such as 30d, a date such as 2030-01-31, or never\n',
      ],
      [
        "keys create a --expires 99999999999d",
        'error: Cannot use "99999999999d" as expires (flag --expires): expected a duration such as 30d, a date such as 2030-01-31, or never\n',
      ],
      [
        "keys create a --budget-period day",
        "error: Cannot use --budget-period without --budget-tokens: there is no budget\n  → Add --budget-tokens NUMBER\n",
      ],
      [
        "workers secret revoke absent",
        'error: Cannot find worker secret "absent"\n  → See all with: modelrelay workers secret list\n',
      ],
    ];
    test("a mistake is named, and nothing is made", async () => {
      const dir = dataDir();
      const before = await json<{ keys: Key[] }>(dir, "keys list");
      for (const [line, err] of MISTAKES) expect(await type(dir, line)).toEqual({ code: 2, out: "", err });
      expect(await json<{ keys: Key[] }>(dir, "keys list")).toEqual(before);
    });
  });
}

describe("The commands for keys", () => {
  let dir: TempDir;
  let store: Store;
  let ring: KeyRing;
  let relay: PlainRelay;
  let file: { remove(): void };
  const proof = new LocalProof();

  beforeAll(async () => {
    dir = new TempDir();
    writeFileSync(join(dir.path, "admin-token"), `${TOKEN}\n`);
    store = await openStore({ dataDir: dir.path }, { clock: systemClock });
    ring = await KeyRing.open(store, { clock: systemClock, log: silentLog, cacheTtlMs: 60_000 });
    const config = { ...relayConfig({}), apiKey: "first", adminToken: TOKEN };
    relay = startRelay(config, { clock: systemClock, log: silentLog, ring, proof });
    file = writeRelayFile(dir.path, relay.url, proof.key, silentLog);
  });
  afterAll(async () => {
    await relay.stop();
    await ring.close();
    await store.close();
    dir[Symbol.dispose]();
  });

  keysWork("on a relay that runs", () => dir.path);

  let stopped: TempDir;
  beforeAll(() => {
    stopped = new TempDir();
  });
  afterAll(() => stopped[Symbol.dispose]());
  keysWork("on the database of one that does not", () => stopped.path);

  const models = (key: string) =>
    fetch(`${relay.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } });

  test("act on the running relay at once", async () => {
    const made = await json<Key>(dir.path, "keys create ada");
    expect((await models(made.secret)).status).toBe(200);
    await json(dir.path, `keys revoke ${made.id} --revoke-running`);
    expect((await models(made.secret)).status).toBe(401);
  });

  test("act within a second on a relay that they cannot find, through its database", async () => {
    file.remove();
    const made = await json<Key>(dir.path, "keys create ada");
    while ((await models(made.secret)).status !== 200);
    await json(dir.path, `keys revoke ${made.id}`);
    const revokedAt = performance.now();
    while ((await models(made.secret)).status !== 401);
    expect(performance.now() - revokedAt).toBeLessThan(1_000);
    file = writeRelayFile(dir.path, relay.url, proof.key, silentLog);
  });

  test("use the database where the file of a killed relay names a process that is something else", async () => {
    using other = new TempDir();
    using taken = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("hello") });
    const asked: string[] = [];
    using thief = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch(request) {
        asked.push(request.headers.get("authorization") ?? "no token");
        return Response.json({ status: "ok", proof: new LocalProof().answer("0".repeat(32)) });
      },
    });
    writeFileSync(join(other.path, "admin-token"), TOKEN);
    const { key: proofKey } = new LocalProof();
    // A relay of somebody else is as little the one that wrote the file.
    for (const url of [taken.url.origin, thief.url.origin, relay.url, "http://127.0.0.1:1"]) {
      writeFileSync(join(other.path, "relay.json"), JSON.stringify({ url, pid: process.pid, proofKey }));
      await json<Key>(other.path, "keys create ada");
    }
    expect((await json<{ keys: Key[] }>(other.path, "keys list")).keys).toHaveLength(4);
    expect(new Set(asked)).toEqual(new Set(["no token"]));
  });

  test("reach a relay elsewhere with its address and token, and say what is wrong with either", async () => {
    using elsewhere = new TempDir();
    const at = `--relay-url ${relay.url}`;
    const given = await type(elsewhere.path, `keys list --json ${at}`, { MODELRELAY_ADMIN_TOKEN: TOKEN });
    expect(given.code).toBe(0);
    const without = await type(elsewhere.path, `keys list ${at}`);
    expect(without.err).toContain("give the token with --admin-token-file");
    expect(without.code).toBe(1);
    const wrong = await type(elsewhere.path, `keys list ${at}`, { MODELRELAY_ADMIN_TOKEN: "wrong" });
    expect(wrong.err).toStartWith(`error: The relay at ${relay.url} refused the admin token\n`);
    const nobody = await type(elsewhere.path, "keys list --relay-url http://127.0.0.1:1", {
      MODELRELAY_ADMIN_TOKEN: TOKEN,
    });
    expect(nobody.err).toStartWith("error: Cannot reach the relay at http://127.0.0.1:1: ");
  });

  test("leave the file of a relay that was started in the same place since", () => {
    using other = new TempDir();
    const own = writeRelayFile(other.path, "http://127.0.0.1:1", proof.key, silentLog);
    const path = join(other.path, "relay.json");
    const successor = JSON.stringify({ url: "http://127.0.0.1:2", pid: process.ppid, proofKey: "" });
    writeFileSync(path, successor);
    own.remove();
    expect(readFileSync(path, "utf8")).toBe(successor);
  });
});
