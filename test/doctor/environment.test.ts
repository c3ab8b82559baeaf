import { describe, expect, test } from "bun:test";
import { version } from "../../src/base/build-info.ts";
import { checkEnvironment } from "../../src/doctor/environment.ts";
import { checkProxies, proxyFor, type Asked } from "../../src/doctor/proxies.ts";
import { checkRelayHere, judgeDialled, type RelayAnswer } from "../../src/doctor/relays.ts";
import { machine, onLinux } from "./machine.ts";

describe("The environment", () => {
  test("is well where nothing in it changes the program", () => {
    expect(
      checkEnvironment(
        machine({ env: { PATH: "/bin", BUN_OPTIONS: "", NODE_OPTIONS: "--inspect" } }),
        undefined,
      ),
    ).toEqual([
      {
        target: "",
        ok: true,
        details: "no variable of BUN_OPTIONS, BUN_BE_BUN, LD_PRELOAD is set",
      },
    ]);
  });

  test("is told of each variable that makes it another one", () => {
    const env = {
      BUN_OPTIONS: "--preload ./x.ts",
      LD_PRELOAD: "/tmp/x.so",
      NODE_TLS_REJECT_UNAUTHORIZED: "0",
    };
    const outcomes = checkEnvironment(machine({ env }), undefined);
    expect(outcomes.map(({ ok, warning, details }) => [ok, warning, details.split(" ")[0]])).toEqual([
      [false, undefined, "BUN_OPTIONS"],
      [false, undefined, "LD_PRELOAD"],
      [true, true, "NODE_TLS_REJECT_UNAUTHORIZED=0"],
    ]);
    expect(outcomes[0]?.action).toBe("Take it away: unset BUN_OPTIONS");
    // What is in a variable is nobody's business who reads a report.
    expect(JSON.stringify(outcomes)).not.toContain("x.ts");
  });

  test.if(onLinux)("of a relay that runs is its own", async () => {
    await using child = Bun.spawn(["sh", "-c", "echo; read _"], {
      env: { BUN_OPTIONS: "--smol" },
      stdio: ["pipe", "pipe", "ignore"],
    });
    await child.stdout.getReader().read();
    const running = { url: "http://127.0.0.1:1", pid: child.pid };
    expect(checkEnvironment(machine(), running)).toEqual([
      {
        target: "the relay that runs",
        ok: false,
        details: "BUN_OPTIONS is set, which adds options of the runtime, and with --preload code of others",
        action: "Take it away: UnsetEnvironment=BUN_OPTIONS in its unit, and restart it",
      },
    ]);
  });
});

describe("Proxies", () => {
  const HERE: Asked = {
    url: "http://127.0.0.1:8080",
    who: "programs of this machine ask",
    mayBeProxied: false,
  };
  const CA: Asked = { url: "https://acme.example.com/directory", who: "the relay asks", mayBeProxied: true };
  const look = (env: Record<string, string>, ...asked: Asked[]) => checkProxies(machine({ env }), asked);

  test("are none, or catch nobody, or are what somebody is meant to use", () => {
    expect(look({ HTTP_PROXY: "" }, HERE)[0]?.details).toBe("no variable sends requests through one");
    expect(look({ HTTPS_PROXY: "http://u:hunter2@proxy:3128" }, HERE, CA)).toEqual([
      {
        target: "",
        ok: true,
        details:
          "HTTPS_PROXY=http://…@proxy:3128: used for acme.example.com; the link of a worker goes past it",
      },
    ]);
    expect(
      look({ http_proxy: "http://proxy:3128", NO_PROXY: "localhost, 127.0.0.1" }, HERE)[0]?.warning,
    ).toBeUndefined();
  });

  test("that catch what should stay on the machine are a warning with the way out", () => {
    expect(look({ http_proxy: "http://u:hunter2@proxy:3128", NO_PROXY: "localhost" }, HERE)).toEqual([
      {
        target: "http_proxy",
        ok: true,
        warning: true,
        details:
          "programs of this machine ask http://127.0.0.1:8080 through http://…@proxy:3128 (http_proxy)",
        action: "Add 127.0.0.1 to NO_PROXY: NO_PROXY=localhost,127.0.0.1",
      },
    ]);
  });

  test("are found by the same rules as the runtime's own", async () => {
    const exemptions = [
      "",
      "relay.invalid",
      ".invalid",
      "*.invalid",
      "*",
      "invalid",
      "relay.invalid:80",
      "relay.invalid:81",
      "x.invalid",
      "127.0.0.0/8",
      "lay.invalid",
    ];
    const urls = ["http://relay.invalid/", "https://relay.invalid/", "http://127.1.2.3/"];
    let asked = 0;
    using proxy = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        data(socket) {
          asked++;
          socket.end("HTTP/1.1 502 No\r\ncontent-length: 0\r\n\r\n");
        },
      },
    });
    const address = `http://127.0.0.1:${proxy.port}`;
    const cases = exemptions.flatMap((NO_PROXY) => urls.map((url) => ({ NO_PROXY, url })));
    const seen: boolean[] = [];
    for (const { NO_PROXY, url } of cases) {
      const child = Bun.spawn([process.execPath, "-e", `await fetch("${url}").catch(() => {})`], {
        env: { HTTP_PROXY: address, HTTPS_PROXY: address, NO_PROXY },
        stdio: ["ignore", "ignore", "ignore"],
      });
      const before = asked;
      await child.exited;
      seen.push(asked > before);
    }
    const told = cases.map(
      ({ NO_PROXY, url }) =>
        proxyFor(url, { HTTP_PROXY: address, HTTPS_PROXY: address, NO_PROXY }) !== undefined,
    );
    const named = (list: boolean[]) =>
      cases.map((one, at) => `${one.url} NO_PROXY=${one.NO_PROXY}: ${list[at]}`);
    expect(named(told)).toEqual(named(seen));
  });
});

describe("Relays", () => {
  const answer: RelayAnswer = {
    version,
    uptimeSecs: 3_600,
    ready: true,
    troubles: [],
    dateMs: undefined,
    askedMs: 0,
    answeredMs: 0,
  };
  const running = { url: "http://127.0.0.1:8080", pid: process.pid };
  const here = (given: Partial<RelayAnswer> | Error) =>
    checkRelayHere(machine(), running, "/data", () =>
      given instanceof Error ? Promise.reject(given) : Promise.resolve({ ...answer, ...given }),
    );

  test("of this machine is well, or has something to say, or is not ready, or silent, or not there", async () => {
    expect(await here({})).toEqual({
      target: running.url,
      ok: true,
      details: `process ${process.pid}, version ${version}, up 60 min, ready`,
    });
    expect(await here({ troubles: ["no worker is connected"] })).toMatchObject({
      ok: true,
      warning: true,
      details: expect.stringMatching(/, ready, but no worker is connected$/),
    });
    expect(await here({ ready: false, troubles: ["there is no certificate"] })).toMatchObject({
      ok: false,
      details: expect.stringMatching(/, not ready: there is no certificate$/),
    });
    expect(await here(new Error("no answer in time"))).toMatchObject({
      ok: false,
      details: `process ${process.pid} does not answer: no answer in time`,
    });
    expect(
      (await checkRelayHere(machine(), undefined, "/data", () => Promise.resolve(answer))).ok,
    ).toBeUndefined();
  });

  test("of another version than the program is to be restarted", async () => {
    expect(await here({ version: "0.0.1" })).toMatchObject({
      ok: true,
      warning: true,
      details: `process ${process.pid}, version 0.0.1, up 60 min, while version ${version} is installed`,
      action: "Restart it: modelrelay service restart",
    });
  });

  test("elsewhere may have another version, and must answer", () => {
    const url = "https://relay.example.com";
    expect(judgeDialled(url, answer)).toEqual({
      target: url,
      ok: true,
      details: `version ${version}, as here`,
    });
    expect(judgeDialled(url, { ...answer, version: "9.9.9\u001b[2J" })).toMatchObject({
      ok: true,
      warning: true,
      details: `version 9.9.9?[2J, and ${version} here; they work together`,
    });
    expect(judgeDialled(url, new Error("no answer in time"))).toEqual({
      target: url,
      ok: false,
      details: "no answer in time",
      action: "Look closer with: modelrelay worker --check",
    });
  });
});
