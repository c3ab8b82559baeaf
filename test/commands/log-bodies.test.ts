import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import type { RequestDetails } from "../../src/server/bodies/request-route.ts";
import { openStore } from "../../src/server/store/store.ts";
import { healthAt } from "../faults/rig.ts";
import { Program, startFleet } from "../faults/processes.ts";
import { startFakeBackend, type FakeBackend } from "../support/fake-backend.ts";
import { startFakeCollector, type Posted } from "../server/trace/fake-collector.ts";
import { TempDir } from "./reading.ts";

const CLI = new URL("../../src/cli.ts", import.meta.url).pathname;
const ADMIN = "admin-token-for-this-test-alone";
const KEY = "client-key-for-this-test-alone";

const QUESTION = JSON.stringify({ model: "m", input: "the secret question, Zoë \u001b[31m" });
const ANSWER = "data: the secret answer\n\n";

async function usage(
  dataDir: string,
  ...args: string[]
): Promise<{ stdout: string; stderr: string; code: number }> {
  const child = Bun.spawn([process.execPath, CLI, "usage", "--data-dir", dataDir, ...args], {
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { stdout, stderr, code: await child.exited };
}

function get(url: string, path: string, token?: string): Promise<Response> {
  return fetch(url + path, {
    keepalive: false,
    ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
  });
}

/** Asks for a stream, and waits until it is over. @returns the relay's id of the request */
async function ask(url: string, backend: FakeBackend): Promise<string> {
  const answering = fetch(`${url}/v1/embeddings`, {
    method: "POST",
    body: QUESTION,
    headers: { authorization: `Bearer ${KEY}`, "x-secret-field": "the secret field" },
    keepalive: false,
  });
  const exchange = await backend.next();
  exchange.head(200, { "content-type": "text/event-stream" });
  exchange.write(ANSWER);
  exchange.end();
  const answer = await answering;
  expect(await answer.text()).toBe(ANSWER);
  return answer.headers.get("x-request-id") ?? "";
}

async function rowsOfBodies(dataDir: string): Promise<number | undefined> {
  await using store = await openStore({ dataDir, purpose: "inspect" }, { clock: systemClock });
  return (await store.check()).rows.bodies;
}

/** Ends it as an operator does, which writes what waits. */
async function end(relay: Program): Promise<void> {
  relay.signal("SIGTERM");
  expect(await relay.exited).toBe(0);
}

const flags = (dataDir: string, ...more: string[]) => [
  `--data-dir=${dataDir}`,
  `--admin-token=${ADMIN}`,
  `--api-key=${KEY}`,
  "--log-level=debug",
  ...more,
];

describe("serve --log-bodies", () => {
  test("keeps bodies for operators alone, and tells nobody else of them", async () => {
    using dir = new TempDir();
    await using backend = await startFakeBackend(["m"]);
    using collector = startFakeCollector();
    const posts: Posted[] = [];
    collector.answer = (post) => {
      posts.push(post);
      return Response.json({});
    };
    await using fleet = await startFleet(backend.url, {
      serve: flags(dir.path, "--log-bodies", `--otlp-endpoint=${collector.url.replace("/v1/traces", "")}`),
    });
    const { url, relay } = fleet;
    const id = await ask(url, backend);
    const path = `/admin/requests/${id}`;
    const details = async (): Promise<RequestDetails> => {
      for (;;) {
        const response = await get(url, path, ADMIN);
        const seen = response.ok ? ((await response.json()) as RequestDetails) : undefined;
        if (seen?.bodies && seen.request) return seen;
      }
    };
    const seen = await details();
    expect(seen).toMatchObject({
      request: { id, path: "/v1/embeddings", status: 200 },
      bodies: {
        request: { encoding: "utf-8", body: QUESTION, truncated: false },
        answer: { encoding: "utf-8", body: ANSWER, truncated: false },
      },
    });
    expect(JSON.stringify(seen)).not.toContain("secret field");
    for (const token of [undefined, KEY, "wrong"]) expect((await get(url, path, token)).status).toBe(401);

    const shown = await usage(dir.path, "--request", id, "--admin-token", ADMIN);
    expect(shown).toMatchObject({ stderr: "", code: 0 });
    expect(shown.stdout).toContain(`\nrequest (${QUESTION.length + 1} B)\n${QUESTION}\n`);
    expect(shown.stdout).toEndWith(`\nanswer (${ANSWER.length} B)\n${ANSWER}`);
    expect(shown.stdout).toMatch(new RegExp(`^id +${id}$`, "m"));
    const asJson = await usage(dir.path, "--request", id, "--json", "--admin-token", ADMIN);
    expect(JSON.parse(asJson.stdout)).toEqual(seen);

    const metrics = await (await get(url, "/metrics", ADMIN)).text();
    await end(relay);
    expect(relay.log).toMatch(
      /WARN.*Prompts and answers are kept, for whoever has the admin token or can read the database.*modelrelay\.db.*168 h.*1 MiB/i,
    );
    const told = [metrics, relay.log, ...posts.map(({ body }) => Buffer.from(tryGunzip(body)).toString())];
    expect(posts.length).toBeGreaterThan(0);
    for (const text of told) {
      expect(text.length).toBeGreaterThan(100);
      expect(text).not.toContain("secret question");
      expect(text).not.toContain("secret answer");
    }
    // The database of a relay that does not run shows the same.
    expect(JSON.parse((await usage(dir.path, "--request", id, "--json")).stdout)).toEqual(seen);
  }, 30_000);

  test("removes what it kept once it is off, after the retention that is set then", async () => {
    using dir = new TempDir();
    await using backend = await startFakeBackend(["m"]);
    {
      await using fleet = await startFleet(backend.url, { serve: flags(dir.path, "--log-bodies") });
      await ask(fleet.url, backend);
      await end(fleet.relay);
    }
    expect(await rowsOfBodies(dir.path)).toBe(1);
    const serve = ["--listen=127.0.0.1:0"];
    {
      await using relay = new Program("serve", [...serve, ...flags(dir.path)]);
      await healthAt(await relay.url(), () => true);
      await end(relay);
    }
    expect(await rowsOfBodies(dir.path)).toBe(1);
    await using relay = new Program("serve", [...serve, ...flags(dir.path, "--log-bodies-retention=0")]);
    await relay.url();
    while (!relay.log.includes("Removed old prompts and answers"))
      await healthAt(await relay.url(), () => true);
    await end(relay);
    expect(await rowsOfBodies(dir.path)).toBe(0);
  }, 30_000);

  test("is off by default: nothing is kept, and nothing is said", async () => {
    using dir = new TempDir();
    await using backend = await startFakeBackend(["m"]);
    await using fleet = await startFleet(backend.url, { serve: flags(dir.path) });
    const id = await ask(fleet.url, backend);
    await end(fleet.relay);
    expect(await rowsOfBodies(dir.path)).toBe(0);
    expect(fleet.relay.log).not.toContain("Prompts and answers are kept");
    const shown = await usage(dir.path, "--request", id);
    expect(shown.stdout).toContain("/v1/embeddings");
    expect(shown.stdout).toEndWith("\nNo bodies of it are kept\n");
  }, 30_000);
});

describe("usage --request", () => {
  test("says that there is no such request, and refuses what makes no sense with it", async () => {
    using dir = new TempDir();
    await (await openStore({ dataDir: dir.path }, { clock: systemClock })).close();
    const [none, sums, odd] = await Promise.all([
      usage(dir.path, "--request", "nowhere"),
      usage(dir.path, "--request", "nowhere", "--since=7d"),
      usage(dir.path, "--request", "../keys"),
    ]);
    expect([none.code, sums.code, odd.code]).toEqual([1, 2, 2]);
    expect(none.stderr).toContain('No request with id "nowhere" is kept');
    expect(sums.stderr).toContain("Cannot show one request (flag --request) with since (flag --since)");
  });
});

function tryGunzip(body: Uint8Array<ArrayBuffer>): Uint8Array {
  return body[0] === 0x1f ? Bun.gunzipSync(body) : body;
}
