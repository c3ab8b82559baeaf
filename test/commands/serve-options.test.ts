import { describe, expect, test } from "bun:test";
import { defaultDataDir } from "../../src/commands/data-dir.ts";
import { checkDemo, demoOptions } from "../../src/commands/demo-options.ts";
import { checkServe, serveOptions } from "../../src/commands/serve-options.ts";
import { keepSecret } from "../../src/commands/worker-secret.ts";
import { Problem } from "../../src/base/errors.ts";
import { mistake, reader, surroundings, TempDir } from "./reading.ts";
import { statSync } from "node:fs";

const serve = reader("serve", serveOptions);

describe("Safe by default", () => {
  test("serve refuses an address that others can reach, and says why and what to do", () => {
    expect([
      mistake(() => checkServe(serve(["--listen", "192.168.1.2:80"]))),
      mistake(() => checkServe(serve([], { LISTEN_ADDR: ":80" }))),
    ]).toEqual([
      {
        message:
          'Cannot listen on "192.168.1.2" (flag --listen): other machines can reach it, and this version has no API keys yet, so anyone there could use the models',
        action:
          "Listen on 127.0.0.1 behind something that checks who calls, or say --allow-anonymous (MODELRELAY_ALLOW_ANONYMOUS=true) to mean it",
      },
      {
        message:
          "Cannot listen on every address of this machine (environment variable LISTEN_ADDR): other machines can reach it, and this version has no API keys yet, so anyone there could use the models",
        action:
          "Listen on 127.0.0.1 behind something that checks who calls, or say --allow-anonymous (MODELRELAY_ALLOW_ANONYMOUS=true) to mean it",
      },
    ]);
  });

  test("serve takes any address when anonymous use is meant, and loopback always", () => {
    expect(() => {
      checkServe(serve(["--listen=:80", "--allow-anonymous"]));
      checkServe(serve(["--listen=[::1]:80"]));
    }).not.toThrow();
  });

  test("serve refuses a body limit above what all bodies together may take", () => {
    expect(mistake(() => checkServe(serve(["--max-inflight-bytes", "1MiB"])))).toEqual({
      message:
        "Cannot allow a body of 134217728 bytes (max-body, default): all bodies together may take only 1048576 (max-inflight-bytes, flag --max-inflight-bytes)",
      action: "Lower --max-body or raise --max-inflight-bytes",
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
      { ...linux, root: true, home: "/root" },
      "/root/.local/share/modelrelay",
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
    const made = keepSecret(data);
    expect({ again: keepSecret(data), length: made.secret.length }).toEqual({ again: made, length: 43 });
    if (process.platform !== "win32") {
      expect([statSync(data).mode & 0o777, statSync(made.path).mode & 0o777]).toEqual([0o700, 0o600]);
    }
  });

  test("that cannot be written is a problem with a way out", () => {
    using dir = new TempDir();
    const file = dir.write("file", "");
    expect(() => keepSecret(`${file}/data`)).toThrow(Problem);
  });
});
