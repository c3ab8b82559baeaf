import { describe, expect, test } from "bun:test";
import { defaultDataDir } from "../../src/commands/data-dir.ts";
import { checkDemo, demoOptions } from "../../src/commands/demo-options.ts";
import { silentLog } from "../../src/base/log.ts";
import { secretsOf } from "../../src/commands/serve-secrets.ts";
import { checkServe, isPublic, serveOptions } from "../../src/commands/serve-options.ts";
import { keepSecret } from "../../src/commands/kept-secret.ts";
import { Problem } from "../../src/base/errors.ts";
import { mistake, reader, surroundings, TempDir } from "./reading.ts";
import { readFileSync, statSync, symlinkSync } from "node:fs";

const serve = reader("serve", serveOptions);

describe("Safe by default", () => {
  test("serve asks clients for a key on every address that others can reach, unless it is meant to be open", () => {
    const open = (args: string[]) => isPublic(serve(args).config);
    expect([
      open([]),
      open(["--listen=[::1]:80"]),
      open(["--listen", "192.168.1.2:80"]),
      open(["--tls", "--domain=a.example.com"]),
      open(["--tls", "--domain=a.example.com", "--https-port=127.0.0.1:8443"]),
    ]).toEqual([false, false, true, true, false]);
  });

  test("serve refuses a key together with the wish for none", () => {
    expect(mistake(() => checkServe(serve(["--api-key=k".padEnd(30, "k"), "--allow-anonymous"])))).toEqual({
      message:
        "Cannot use api-key (flag --api-key) and allow-anonymous (flag --allow-anonymous) together: one asks for a key, the other for none",
      action: "Keep one of them",
    });
  });

  test("serve asks for keys where it is told to, or where others can reach it and it is told nothing", () => {
    using dir = new TempDir();
    const asks = (...args: string[]) => {
      const { requireApiKeys, apiKey } = secretsOf(
        serve([...args, "--data-dir", dir.path]).config,
        silentLog,
      );
      // Without a first key nobody could come in before one is made.
      expect(apiKey !== undefined).toBe(requireApiKeys);
      return requireApiKeys;
    };
    const open = "--listen=:80";
    expect([asks(), asks("--api-key=k"), asks("--require-api-keys")]).toEqual([false, true, true]);
    expect([asks(open), asks(open, "--allow-anonymous"), asks(open, "--no-require-api-keys")]).toEqual([
      true,
      false,
      false,
    ]);
  });

  test("serve refuses to be told both to ask for keys and not to", () => {
    const pairs = [
      ["--api-key=k", "--no-require-api-keys"],
      ["--require-api-keys", "--allow-anonymous"],
    ];
    for (const pair of pairs)
      expect(mistake(() => checkServe(serve(pair))).message).toEndWith(
        "together: one asks for a key, the other for none",
      );
    checkServe(serve(["--allow-anonymous", "--no-require-api-keys"]));
    checkServe(serve(["--api-key=k", "--require-api-keys"]));
  });

  test("serve refuses a body limit above what all bodies together may take", () => {
    expect(mistake(() => checkServe(serve(["--max-inflight-bytes", "1MiB"])))).toEqual({
      message:
        "Cannot allow a body of 134217728 bytes (max-body, default): all bodies together may take only 1048576 (max-inflight-bytes, flag --max-inflight-bytes)",
      action: "Lower --max-body or raise --max-inflight-bytes",
    });
  });

  test.each([["--https-port=8443"], ["--http-port=off"], ["--hsts"], ["--http3"]])(
    "serve refuses %s where it would serve plain HTTP all the same",
    (flag) => {
      expect(mistake(() => checkServe(serve([flag])))).toEqual({
        message: `Cannot use flag ${flag.replace(/=.*/, "")}: HTTPS is not served`,
        action: "Add --tls with --domain, --tls-cert with --tls-key, or --tls-self-signed",
      });
      checkServe(serve([flag === "--http-port=off" ? "--https-port=1" : flag, "--tls-self-signed"]));
    },
  );

  test("serve takes ports from variables that a platform sets for everybody, and a switch that is off", () => {
    checkServe(serve(["--no-hsts"], { HTTP_PORT: "8080", HTTPS_PORT: "8443" }));
  });

  test("serve refuses a CA that is asked without encryption", () => {
    const args = ["--tls", "--domain=a.example.com", "--acme-directory=http://ca.example/dir"];
    expect(mistake(() => checkServe(serve(args)))).toEqual({
      message:
        'Cannot use "http://ca.example/dir" as acme-directory (flag --acme-directory): a CA is asked by https alone',
      action: "Give the https:// address of the CA's directory; for a private CA see --acme-ca-file",
    });
  });

  test("demo stays on this machine", () => {
    const demo = reader("demo", demoOptions);
    expect(mistake(() => checkDemo(demo([], { LISTEN_ADDR: "0.0.0.0:8080" })))).toEqual({
      message:
        'Cannot run the demo on "0.0.0.0" (environment variable LISTEN_ADDR): other machines can reach it, and the demo asks nobody for a key',
      action: "Listen on 127.0.0.1, or use modelrelay serve and modelrelay worker",
    });
  });
});

describe("Data directory", () => {
  const linux = surroundings();
  const cases: [title: string, around: typeof linux, expected: string][] = [
    ["is the user's place on Linux", linux, "/home/ada/.local/share/modelrelay"],
    ["follows XDG_DATA_HOME", surroundings({ XDG_DATA_HOME: "/data" }), "/data/modelrelay"],
    [
      "ignores a relative XDG_DATA_HOME",
      surroundings({ XDG_DATA_HOME: "data" }),
      "/home/ada/.local/share/modelrelay",
    ],
    [
      "is what systemd made",
      surroundings({ STATE_DIRECTORY: "/var/lib/mr:/var/lib/two", INVOCATION_ID: "1" }),
      "/var/lib/mr",
    ],
    [
      "is /var/lib for a service of the superuser",
      { ...surroundings({ INVOCATION_ID: "1" }), root: true },
      "/var/lib/modelrelay",
    ],
    [
      "is the user's place for a user's service",
      surroundings({ INVOCATION_ID: "1" }),
      "/home/ada/.local/share/modelrelay",
    ],
    [
      "is the user's place for the superuser at a terminal",
      { ...linux, root: true, home: "/home/superuser" },
      "/home/superuser/.local/share/modelrelay",
    ],
    [
      "is in the library on macOS",
      { ...linux, platform: "darwin", home: "/Users/ada" },
      "/Users/ada/Library/Application Support/modelrelay",
    ],
    [
      "is LOCALAPPDATA on Windows",
      { ...surroundings({ LOCALAPPDATA: "D:\\Local" }), platform: "win32" },
      "D:\\Local\\modelrelay",
    ],
    [
      "is found on Windows without LOCALAPPDATA",
      { ...linux, platform: "win32", home: "C:\\Users\\ada" },
      "C:\\Users\\ada\\AppData\\Local\\modelrelay",
    ],
  ];
  for (const [title, around, expected] of cases) {
    test(title, () => {
      expect(defaultDataDir(around)).toBe(expected);
    });
  }
});

describe("Kept secret", () => {
  test("is made once, is long, and only its owner can read it", () => {
    using dir = new TempDir();
    const data = `${dir.path}/a/b`;
    const made = keepSecret(data, "worker-secret");
    expect({ again: keepSecret(data, "worker-secret"), length: made.secret.length }).toEqual({
      again: { ...made, isNew: false },
      length: 43,
    });
    if (process.platform !== "win32") {
      expect([statSync(data).mode & 0o777, statSync(made.path).mode & 0o777]).toEqual([0o700, 0o600]);
    }
  });

  test.skipIf(process.platform === "win32")("is not written through a link that was planted", () => {
    using dir = new TempDir();
    const victim = dir.write("victim", "keep");
    symlinkSync(victim, `${dir.path}/api-key.${process.pid}`);
    const { path, secret } = keepSecret(dir.path, "api-key");
    expect([readFileSync(victim, "utf8"), readFileSync(path, "utf8")]).toEqual(["keep", `${secret}\n`]);
  });

  test("that cannot be written is a problem with a way out", () => {
    using dir = new TempDir();
    const file = dir.write("file", "");
    expect(() => keepSecret(`${file}/data`, "worker-secret")).toThrow(Problem);
  });
});
