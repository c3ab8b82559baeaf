import { beforeAll, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "../e2e/program.ts";
import { lacksPart } from "../support/parts.ts";
import { Machine, namesIn, type MachineOptions } from "./machine.ts";
import { archivePath, NEWER, releaseFolder, TARGET } from "./releases.ts";
import { serveReleases } from "./release-server.ts";

let dir: string;
let script: string;
beforeAll(async () => {
  dir = await releaseFolder();
  script = join(dir, "install.sh");
}, 60_000);

test.skipIf(lacksPart("shellcheck"))("install.sh has nothing that shellcheck minds", async () => {
  const { code, stdout } = await runProgram(["shellcheck", "--shell=sh", script]);
  expect({ stdout, code }).toEqual({ stdout: "", code: 0 });
});

const machines: MachineOptions[] = [
  { shell: "dash", programs: ["curl"] },
  { shell: "dash", programs: ["wget"] },
  { shell: "bash", programs: ["curl"] },
  { shell: "bash", programs: ["wget"] },
  { shell: "busybox", programs: [] },
  { shell: "busybox", programs: ["curl"] },
];
for (const options of machines) {
  const { shell = "dash", programs = [] } = options;
  test.skipIf(lacksPart("curl", "wget", "busybox"))(
    `A release is installed with ${shell} and ${programs[0] ?? "its own wget"} alone`,
    async () => {
      using machine = new Machine(options);
      await using server = await serveReleases(dir);
      const { stdout, stderr, code } = await machine.install(script, [], server.env);
      expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
      expect(stdout).toStartWith(
        `Downloading modelrelay ${NEWER} for ${TARGET} from ${server.url}\n` +
          `Installed modelrelay ${NEWER} for ${TARGET} in ${machine.bin}\n`,
      );
      expect(stdout).toContain("\n  modelrelay serve --tls --domain relay.example.com\n");
      expect(stdout).toContain("\n  modelrelay worker --proxy-url ");
      expect(await machine.version()).toBe(NEWER);
      expect((statSync(machine.executable).mode & 0o7777).toString(8)).toBe("755");
      expect(namesIn(machine.bin)).toEqual(["modelrelay"]);
      expect(server.asked).toEqual(["latest.txt", `v${NEWER}/SHA256SUMS`, archivePath(NEWER)]);
    },
  );
}
