import { describe, expect, test } from "bun:test";
import { startTestBackend } from "../demo/backend.ts";
import { binaryPath } from "../support/binary.ts";
import { runProgram, startModelrelay } from "./program.ts";
import { SECRET } from "./relayed.ts";

/** Runs `worker --check`. Of its output, what differs from run to run is replaced. */
async function check(
  relay: string,
  backend: string,
  secret = SECRET,
): Promise<{ code: number; said: string[] }> {
  const args = ["worker", "--check", `--proxy-url=${relay}`, `--backend-url=${backend}`];
  const { stdout, stderr, code } = await runProgram([binaryPath(), ...args], {
    env: { WORKER_SECRET: secret },
  });
  expect(stderr).toBe("");
  const said = stdout
    .replaceAll(new URL(relay).host, "RELAY")
    .replaceAll(new URL(backend).host, "BACKEND")
    .replaceAll(/\d+ ms/g, "N ms");
  return { code, said: said.trimEnd().split("\n") };
}

/** An address at which nothing listens: the port was free a moment ago. */
async function closedAddress(): Promise<string> {
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
  const url = `http://127.0.0.1:${server.port}`;
  await server.stop(true);
  return url;
}

const NAME = "ok    name resolves        127.0.0.1: 127.0.0.1";
const REACHABLE = "ok    relay reachable      RELAY: a connection was accepted";
const PLAIN =
  "skip  certificate trusted  RELAY: not needed: the relay's address begins with http:, so nothing is encrypted";
const CONNECT = "http://RELAY/v1/worker/connect?provider=local";
const ACCEPTED = `ok    secret accepted      ${CONNECT}: the relay accepts this worker`;
const BACKEND = [
  "ok    backend up           http://BACKEND: it answers",
  "ok    models found         http://BACKEND: demo-echo",
  "ok    one token generated  demo-echo: /v1/chat/completions answered in N ms",
];

describe("worker --check", () => {
  test("prints each step and ends with 0 when all is well, and offers no model", async () => {
    await using backend = startTestBackend();
    await using serve = startModelrelay(["serve", "--listen=127.0.0.1:0"], {
      env: { WORKER_SECRET: SECRET },
    });
    const [, url = ""] = await serve.until(/The relay listens url=(\S+)/);
    expect(await check(url, backend.url)).toEqual({
      code: 0,
      said: [NAME, REACHABLE, PLAIN, ACCEPTED, ...BACKEND],
    });
    await serve.until(/A worker left/);
    expect(await (await fetch(`${url}/health`)).json()).toMatchObject({ workers_connected: 0 });
    expect(serve.stderr).not.toContain("models=test");
  });

  test("says what to do about a wrong secret, which it does not show", async () => {
    await using backend = startTestBackend();
    await using serve = startModelrelay(["serve", "--listen=127.0.0.1:0"], {
      env: { WORKER_SECRET: SECRET },
    });
    const [, url = ""] = await serve.until(/The relay listens url=(\S+)/);
    const result = await check(url, backend.url, "hunter2-hunter2");
    expect(result).toEqual({
      code: 1,
      said: [
        NAME,
        REACHABLE,
        PLAIN,
        `FAIL  secret accepted      ${CONNECT}: The relay refused the worker secret (HTTP 401)`,
        "      → Start the worker with the secret that the relay was started with (--worker-secret)",
        ...BACKEND,
      ],
    });
    expect(result.said.join("\n") + serve.stderr).not.toContain("hunter2");
  });

  test("says what to do about a relay that is down, and still tries the backend", async () => {
    await using backend = startTestBackend();
    expect(await check(await closedAddress(), backend.url)).toEqual({
      code: 1,
      said: [
        NAME,
        "FAIL  relay reachable      RELAY: nothing listens there (connection refused)",
        "      → Check that the relay runs, that --proxy-url has the right port, and that no firewall is in between",
        "skip  certificate trusted  RELAY: not tried, since a step before it failed",
        `skip  secret accepted      ${CONNECT}: not tried, since a step before it failed`,
        ...BACKEND,
      ],
    });
  });

  test("says what to do about a backend that is down", async () => {
    await using serve = startModelrelay(["serve", "--listen=127.0.0.1:0"], {
      env: { WORKER_SECRET: SECRET },
    });
    const [, url = ""] = await serve.until(/The relay listens url=(\S+)/);
    expect(await check(url, await closedAddress())).toEqual({
      code: 1,
      said: [
        NAME,
        REACHABLE,
        PLAIN,
        ACCEPTED,
        "FAIL  backend up           http://BACKEND: Cannot reach the backend at http://BACKEND: nothing listens there (connection refused)",
        "      → Start the inference server, or name its address with --backend-url",
        "skip  models found         http://BACKEND: not tried, since a step before it failed",
        "skip  one token generated  not tried, since a step before it failed",
      ],
    });
  });

  test("takes another web server for what it is", async () => {
    await using backend = startTestBackend();
    const { code, said } = await check(backend.url, backend.url);
    expect(code).toBe(1);
    expect(said.slice(3, 5)).toEqual([
      `FAIL  secret accepted      ${CONNECT}: Cannot connect to the relay: HTTP 404`,
      "      → Check --proxy-url: this is not a modelrelay relay, or a proxy in between does not pass /v1/worker/connect on",
    ]);
  });
});
