import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { BootedDebian } from "../service/booted.ts";
import { lacksPart } from "../support/parts.ts";
import { NEWER, OLDER, releaseFolder } from "./releases.ts";

const PREFIX = "/opt/modelrelay";
const UNIT = "modelrelay.service";

const cannotBoot = process.getuid?.() !== 0 || lacksPart("systemdRoot", "nspawn", "curl");

describe.skipIf(cannotBoot)("On a machine that systemd runs, install.sh", () => {
  test("sets up a relay, hands it over to a new version, and leaves nothing behind", async () => {
    const dir = await releaseFolder();
    await using debian = await BootedDebian.start();
    const server = debian.startBeside([process.execPath, join(import.meta.dir, "serve-folder.ts"), dir]);
    await using stack = new AsyncDisposableStack();
    stack.use(server);
    const [url] = await server.until(/http:\S+/, "stdout");
    const install = (...words: string[]) =>
      debian.run(
        ["sh", "-c", `curl -fsSL "$0/install.sh" | sh -s -- "$@"`, url, "--prefix", PREFIX, ...words],
        { MODELRELAY_BASE_URL: url },
      );
    const relay = async () => {
      const health = JSON.parse(await debian.sh("curl -s http://127.0.0.1:8088/health")) as {
        version: string;
      };
      const [executable] = await debian.show(UNIT, "ExecStart");
      return { version: health.version, runs: executable?.includes(`${PREFIX}/bin/modelrelay serve `) };
    };
    const files = () => debian.sh("find / -xdev -not -path '/proc/*' -path '*modelrelay*' | sort");
    const before = await files();

    const first = await install("--version", OLDER, "--service", "serve", "--", "--listen", "127.0.0.1:8088");
    expect({ code: first.code, stderr: first.stderr }).toMatchObject({ code: 0 });
    expect(await relay()).toEqual({ version: OLDER, runs: true });
    const [oldPid] = await debian.show(UNIT, "MainPID");

    // Without arguments it keeps those that it has.
    const second = await install("--service", "serve");
    expect(second.stdout).toContain(`The version before it, ${OLDER}, is kept`);
    expect({ code: second.code, relay: await relay() }).toEqual({
      code: 0,
      relay: { version: NEWER, runs: true },
    });
    const [newPid, restarts] = await debian.show(UNIT, "MainPID", "NRestarts");
    expect({ isAnother: newPid !== oldPid, restarts }).toEqual({ isAnother: true, restarts: "0" });

    // The user cannot be removed while the one that handed over still runs as it.
    await debian.sh(`tail --pid=${oldPid} --follow /dev/null`);
    const third = await install("--uninstall", "--purge");
    expect({ code: third.code, stdout: third.stdout }).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`Removed modelrelay from ${PREFIX}/bin\n`) as string,
    });
    expect(await debian.sh(`systemctl show ${UNIT} --property=LoadState --value`)).toBe("not-found");
    expect(await debian.sh("getent passwd modelrelay")).toBe("");
    expect(await files()).toBe(before);
  }, 90_000);
});
