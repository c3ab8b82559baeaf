import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { version } from "../../src/base/build-info.ts";
import type { StatusView } from "../../src/commands/status-view.ts";
import { relayDataDir } from "../../src/commands/data-dir.ts";
import { surroundings, TempDir } from "../commands/reading.ts";
import { runCli } from "../doctor/machine.ts";
import { Program } from "../faults/processes.ts";
import type { RawWorker } from "../support/raw-worker.ts";
import { connectRawWorker } from "../support/relays.ts";
import { BARE_HEALTH } from "./views.ts";

const dir = new TempDir();
let relay: Program;
let url: string;
let worker: RawWorker;

beforeAll(async () => {
  chmodSync(dir.path, 0o700);
  relay = new Program("serve", ["--listen", "127.0.0.1:0", "--data-dir", dir.path]);
  url = await relay.url();
  worker = await connectRawWorker(url);
  await worker.register(["m", "n"], { worker_name: "gpu-box", max_concurrent: 2 });
});
afterAll(async () => {
  worker.close();
  await relay[Symbol.asyncDispose]();
  dir[Symbol.dispose]();
});

const status = (...args: string[]) => runCli(["status", ...args]);

/** One request from its question to its usage. */
async function askOnce(): Promise<void> {
  const answer = fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    body: JSON.stringify({ model: "m", messages: [{ role: "user", content: "Hi" }] }),
  });
  const request = await worker.next("request");
  worker.complete(
    request,
    200,
    JSON.stringify({ usage: { prompt_tokens: 600, completion_tokens: 60, total_tokens: 660 } }),
  );
  await (await answer).text();
}

describe("modelrelay status", () => {
  test("shows the relay of this machine with its rates, in a pipe uncut and without colour", async () => {
    await askOnce();
    const { stdout, stderr, code } = await status("--data-dir", dir.path);
    expect(
      stdout
        .replace(/up .*/, "up …")
        .replace(/\d+ (s|ms|min)  m, n/, "…  m, n")
        .split("\n"),
    ).toEqual([
      `relay        ${url}  ${version}, ready, up …`,
      "requests     0 running, 0 waiting, 0 B of bodies held",
      expect.stringMatching(
        /^last minute {2}[\d.]+ requests\/s, none failed; [\d.]+ tokens\/s of prompts, [\d.]+ of answers$/,
      ),
      "",
      "WORKER   STATE  BUSY  CONNECTED  MODELS",
      expect.stringMatching(/^gpu-box {2}free {4}0\/2 +… {2}m, n$/),
      "",
      "MODEL  WORKERS  REQUESTS/S  FAILED  PROMPT/S  ANSWER/S",
      expect.stringMatching(/^m {12}1 +[\d.]+ +0 +[\d.]+ +[\d.]+$/),
      "n            1           0       0         0         0",
      "",
    ]);
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
  });

  test("prints JSON", async () => {
    const { stdout } = await status("--json", "--data-dir", dir.path);
    expect(JSON.parse(stdout)).toMatchObject({
      relay: url,
      version,
      ready: true,
      queue_depth: 0,
      requests_in_flight: 0,
      workers: [{ name: "gpu-box", models: ["m", "n"], max_concurrent: 2, address: "127.0.0.1" }],
      models: [
        { name: "m", workers: 1 },
        { name: "n", workers: 1, rates: { requests_per_sec: 0, failed: 0 } },
      ],
      certificates: [],
      notes: [],
      token_accepted: true,
    });
  });

  test("tells rates of tokens and requests, of each model and of all, and of nobody's invention", async () => {
    await askOnce();
    await fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      body: JSON.stringify({ model: "made-up", messages: [] }),
    });
    const { stdout } = await status("--json", "--data-dir", dir.path);
    const { rates, models } = JSON.parse(stdout) as StatusView;
    // Ten tokens were asked for each that was answered.
    expect(rates?.prompt_tokens_per_sec).toBeCloseTo(10 * (rates?.completion_tokens_per_sec ?? 0), 0);
    expect(rates?.requests_per_sec).toBeGreaterThan(models[0]?.rates?.requests_per_sec ?? 0);
    expect(models.map(({ name }) => name)).toEqual(["m", "n"]);
  });

  test("says that there are no rates where a relay of another version tells none", async () => {
    using other = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: () => Response.json(BARE_HEALTH),
    });
    const { stdout } = await status("--url", `http://127.0.0.1:${other.port}`, "--data-dir", dir.path);
    expect(stdout).toContain("note         no rates: the relay is of a version that does not tell them");
  });

  test("shows what runs while it runs", async () => {
    const asked = fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      body: JSON.stringify({ model: "n", messages: [] }),
    });
    const request = await worker.next("request");
    const { stdout } = await status("--data-dir", dir.path);
    worker.complete(request, 200, "{}");
    await (await asked).text();
    expect(stdout).toContain("requests     1 running, 0 waiting");
    expect(stdout).toMatch(/^gpu-box {2}busy {4}1\/2 /m);
  });

  test("shows what a relay tells everybody where there is no token", async () => {
    using elsewhere = new TempDir();
    const { stdout, code } = await status("--url", url, "--data-dir", elsewhere.path);
    expect(stdout).toContain(
      "\nnote         rates are told to whoever shows the admin token: --admin-token-file\n",
    );
    expect(stdout).toContain("\nWORKER   STATE  BUSY  MODELS\ngpu-box  free    0/2  m, n\n");
    expect(stdout).toContain("\nMODEL  WORKERS\nm            1\n");
    expect(code).toBe(0);
    const { stdout: json } = await status("--url", url, "--data-dir", elsewhere.path, "--json");
    expect(JSON.parse(json)).toMatchObject({ rates: null, token_accepted: null });
  });

  test("shows all with a token, however it is given, and ends for a wrong one", async () => {
    using elsewhere = new TempDir();
    const args = ["--url", url, "--data-dir", elsewhere.path];
    const given = await status(...args, "--admin-token-file", join(dir.path, "admin-token"));
    expect(given.stdout).toContain("last minute  ");
    const wrong = await status(...args, "--admin-token", "wrong");
    expect(wrong).toEqual({
      stdout: "",
      stderr: `error: The relay at ${url} refused the admin token\n  → Give the relay's own with --admin-token-file; it is in its data directory\n`,
      code: 1,
    });
    // One that lies about by chance is no reason to show nothing.
    elsewhere.write("admin-token", "stale\n");
    const stale = await status(...args);
    expect(stale.stdout).toContain(`note         no rates: The relay at ${url} refused the admin token\n`);
    expect([stale.stdout.includes("gpu-box"), stale.code]).toEqual([true, 0]);
  });

  test("sends the token of this machine's relay to no other machine", async () => {
    const shown: (string | null)[] = [];
    using other = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch(request) {
        shown.push(request.headers.get("authorization"));
        return Response.json(BARE_HEALTH);
      },
    });
    // `localhost.` is a name of this machine that is not taken for one.
    const { code } = await status("--url", `http://localhost.:${other.port}`, "--data-dir", dir.path);
    expect([code, shown]).toEqual([0, [null, null]]);
  });

  test("says what to do where there is no relay, or something else", async () => {
    using elsewhere = new TempDir();
    using other = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("hello") });
    const data = ["--data-dir", elsewhere.path];
    const [none, silent, foreign, both] = await Promise.all([
      status(...data),
      status(...data, "--url", "http://127.0.0.1:1"),
      status(...data, "--url", `http://127.0.0.1:${other.port}`),
      status(...data, "--interval", "5s"),
    ]);
    expect(none.stderr).toStartWith(
      `error: Cannot find a relay on this machine: none runs with the data directory "${elsewhere.path}"\n  → `,
    );
    expect(silent.stderr).toBe(
      "error: Cannot reach the relay at http://127.0.0.1:1: nothing listens there (connection refused)\n  → See whether it runs, or name another one with --url\n",
    );
    expect(foreign.stderr).toContain("what answers there is no modelrelay\n  → ");
    expect(both.stderr).toContain("Cannot use interval (flag --interval) without --watch");
    expect([none, silent, foreign, both].map(({ code }) => code)).toEqual([1, 1, 1, 2]);
  });

  test("goes past a proxy to a relay of this machine", async () => {
    const { stdout } = await runCli(["status", "--data-dir", dir.path], {
      env: { HTTP_PROXY: "http://127.0.0.1:1", http_proxy: "http://127.0.0.1:1" },
    });
    expect(stdout).toStartWith(`relay        ${url}`);
  });
});

describe("The place of the relay that commands look after", () => {
  const sign = (folder: TempDir, name: string) => writeFileSync(join(folder.path, name), "");

  test("is this user's own, or the service's where that one runs or has run alone", () => {
    using own = new TempDir();
    using service = new TempDir();
    const around = surroundings({ STATE_DIRECTORY: own.path });
    const place = () => relayDataDir(around, service.path);
    expect(place()).toBe(own.path);
    sign(service, "modelrelay.db");
    expect(place()).toBe(service.path);
    sign(own, "modelrelay.db");
    expect(place()).toBe(own.path);
    sign(service, "relay.json");
    expect(place()).toBe(service.path);
    sign(own, "relay.json");
    expect(place()).toBe(own.path);
    expect(relayDataDir({ ...surroundings({}), platform: "darwin" }, service.path)).not.toBe(service.path);
  });
});
