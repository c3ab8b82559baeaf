import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UNIT_FILES } from "../../scripts/units.ts";
import { unitText } from "../../src/service/systemd-unit.ts";
import { runProgram } from "../e2e/program.ts";
import { newDataDir } from "../support/data-dir.ts";

const SYSTEMD = join(import.meta.dir, "../../systemd");
const UNITS = Object.keys(UNIT_FILES).filter((name) => name.endsWith(".service"));
const hasAnalyze = Bun.which("systemd-analyze") !== null;

/** A root directory with the units in their place, and everything that they name. */
function rootWithUnits(): string {
  const root = newDataDir();
  const units = join(root, "etc/systemd/system");
  for (const dir of [units, join(root, "usr/local/bin"), join(root, "bin")])
    mkdirSync(dir, { recursive: true });
  for (const name of UNITS) writeFileSync(join(units, name), UNIT_FILES[name] ?? "");
  for (const program of ["usr/local/bin/modelrelay", "bin/kill"])
    writeFileSync(join(root, program), "#!/bin/sh\n", { mode: 0o755 });
  // Units of systemd that these refer to.
  for (const target of ["network-online", "multi-user", "basic", "sysinit", "shutdown"])
    writeFileSync(join(units, `${target}.target`), "[Unit]\nDescription=One that is referred to\n");
  return root;
}

describe("The units in systemd/", () => {
  test("are what scripts/units.ts writes", () => {
    expect(readdirSync(SYSTEMD).sort()).toEqual(Object.keys(UNIT_FILES).sort());
    for (const [name, text] of Object.entries(UNIT_FILES))
      expect({ name, text: readFileSync(join(SYSTEMD, name), "utf8") }).toEqual({ name, text });
  });

  test("are what service install writes, but for the lines about who wrote them", () => {
    const kinds = { "modelrelay.service": "serve", "modelrelay-worker@.service": "worker" } as const;
    for (const [name, kind] of Object.entries(kinds)) {
      const written = unitText({
        kind,
        scope: "system",
        executable: "/usr/local/bin/modelrelay",
        args: [],
        configDir: "/etc/modelrelay",
        head: "# A head",
      });
      const body = (text = ""): string => text.slice(text.indexOf("\n[Unit]"));
      expect(body(UNIT_FILES[name])).toBe(body(written));
    }
  });

  for (const name of UNITS) {
    test.skipIf(!hasAnalyze)(`${name} has nothing that systemd would complain of`, async () => {
      const root = rootWithUnits();
      const path = `/etc/systemd/system/${name}`;
      const ran = await runProgram(["systemd-analyze", "verify", "--man=no", `--root=${root}`, path]);
      expect(ran).toEqual({ stdout: "", stderr: "", code: 0 });
    });

    test.skipIf(!hasAnalyze)(`${name} is exposed by 2.5 at most, as systemd counts`, async () => {
      const path = join(SYSTEMD, name);
      const command = ["systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager", path];
      const { stdout, code } = await runProgram(command);
      expect(stdout).toMatch(/Overall exposure level for modelrelay\S* ([01]\.\d|2\.[0-5]) /);
      expect(code).toBe(0);
    });
  }

  test("keep the variables from the program that would have it run another one", () => {
    for (const name of UNITS)
      expect(UNIT_FILES[name]).toContain("\nUnsetEnvironment=BUN_OPTIONS BUN_BE_BUN\n");
  });

  test("know longer waits only where systemd does", () => {
    const settings = {
      kind: "serve",
      scope: "system",
      executable: "/usr/local/bin/modelrelay",
      args: [],
      configDir: "/etc/modelrelay",
      head: "",
    } as const;
    expect(unitText({ ...settings, version: 253 })).not.toContain("RestartSteps");
    expect(unitText({ ...settings, version: 254 })).toContain("\nRestartSteps=8\nRestartMaxDelaySec=1min\n");
  });
});
