import { describe, expect, test } from "bun:test";
import { install, uninstall } from "../../src/service/install.ts";
import type { Ran } from "../../src/service/machine.ts";
import type { ServiceId, ServiceSpec } from "../../src/service/service.ts";
import { TaskScheduler } from "../../src/service/task-scheduler.ts";
import { FakeMachine, type FakeMachineParts } from "./fake-machine.ts";

const SERVE: ServiceId = { kind: "serve", name: undefined, scope: "system" };
const SPEC: ServiceSpec = {
  ...SERVE,
  executable: String.raw`C:\Program Files\modelrelay\modelrelay.exe`,
  args: ["--tls", "--domain=relay.example.com", "--email=a&b@example.com"],
  secrets: [{ variable: "MODELRELAY_ADMIN_TOKEN", fileFlag: "--admin-token-file", value: "the token" }],
  dataDir: undefined,
};
const FOLDER = String.raw`C:\ProgramData\modelrelay-service`;

function windows(parts: Partial<FakeMachineParts> = {}) {
  const machine = new FakeMachine({
    platform: "win32",
    home: String.raw`C:\Users\ada`,
    env: { LOCALAPPDATA: String.raw`C:\Users\ada\AppData\Local`, USERDOMAIN: "BOX" },
    ...parts,
  });
  return { machine, scheduler: new TaskScheduler(machine) };
}

/** Text of the elements of a document that Python's own reader accepts, by their names. */
function parsed(task: Uint8Array): Record<string, string[]> {
  const script = `import sys, json, xml.etree.ElementTree as e
found = {}
for element in e.fromstring(sys.stdin.buffer.read()).iter():
    found.setdefault(element.tag.split("}")[1], []).append((element.text or "").strip())
print(json.dumps(found))`;
  const { stdout, stderr } = Bun.spawnSync(["python3", "-c", script], { stdin: task });
  if (stderr.length > 0) throw new Error(stderr.toString());
  return JSON.parse(stdout.toString()) as Record<string, string[]>;
}

function taskOf(machine: FakeMachine, path: string): Record<string, string[]> {
  const content = machine.files.get(path)?.content;
  if (typeof content === "string" || content === undefined) throw new Error(`Expected bytes in ${path}`);
  // The scheduler goes by this mark.
  expect([...content.subarray(0, 2)]).toEqual([0xff, 0xfe]);
  return parsed(content);
}

describe("A service of Windows", () => {
  test("starts with the machine as a user of few rights, for as long as it likes, and again when it fails", async () => {
    const { machine, scheduler } = windows();
    await install(scheduler.plan(SPEC), machine, () => {});
    const task = taskOf(machine, `${FOLDER}\\serve.xml`);
    expect(task).toMatchObject({
      BootTrigger: [""],
      UserId: ["S-1-5-19"],
      RunLevel: ["LeastPrivilege"],
      ExecutionTimeLimit: ["PT0S"],
      Interval: ["PT1M"],
      Command: [String.raw`%SystemRoot%\System32\cmd.exe`],
      Arguments: [
        `/d /s /c ""${SPEC.executable}" serve --data-dir=${FOLDER}\\data --tls --domain=relay.example.com "--email=a&b@example.com" --admin-token-file=${FOLDER}\\serve.admin-token >> ${FOLDER}\\serve.log 2>&1"`,
      ],
    });
    expect(machine.commands).toEqual([
      ["icacls", FOLDER, "/inheritance:r"],
      ["icacls", FOLDER, "/grant", "*S-1-5-32-544:(OI)(CI)F", "*S-1-5-19:(OI)(CI)M"],
      ["schtasks", "/End", "/TN", String.raw`\modelrelay\serve`],
      ["schtasks", "/Create", "/F", "/TN", String.raw`\modelrelay\serve`, "/XML", `${FOLDER}\\serve.xml`],
      ["schtasks", "/Run", "/TN", String.raw`\modelrelay\serve`],
    ]);
    expect(machine.read(`${FOLDER}\\serve.xml`)).not.toContain("the token");
    expect(machine.files.get(`${FOLDER}\\serve.admin-token`)?.content).toBe("the token\r\n");
  });

  test("of one user runs in the sessions of that user", async () => {
    const { machine, scheduler } = windows();
    await install(scheduler.plan({ ...SPEC, scope: "user" }), machine, () => {});
    const task = taskOf(machine, String.raw`C:\Users\ada\AppData\Local\modelrelay-service\serve.xml`);
    expect(task).toMatchObject({
      LogonTrigger: [""],
      UserId: [String.raw`BOX\ada`, String.raw`BOX\ada`],
      LogonType: ["InteractiveToken"],
    });
    // The data is where the other commands of the user look for it.
    expect(task["Arguments"]?.[0]).not.toContain("--data-dir");
    expect(machine.commands.map((command) => command[0])).toEqual(["schtasks", "schtasks", "schtasks"]);
  });

  test("leaves nothing behind when it is uninstalled", async () => {
    const { machine, scheduler } = windows();
    await install(scheduler.plan(SPEC), machine, () => {});
    expect(await scheduler.installed("system")).toEqual([SERVE]);
    await uninstall(SERVE, scheduler, { machine, purge: true, tell: () => {} });
    expect({ files: [...machine.files.keys()], directories: [...machine.directories.keys()] }).toEqual({
      files: [],
      directories: [],
    });
    expect(machine.commands.at(-1)).toEqual([
      "schtasks",
      "/Delete",
      "/F",
      "/TN",
      String.raw`\modelrelay\serve`,
    ]);
  });

  test("is shown by numbers, which are the same in every language", async () => {
    const told = async (answer: Partial<Ran>) => {
      const { scheduler } = windows({ answers: () => answer });
      const { state, since, status, enabled } = await scheduler.state(SERVE);
      return { state, since, status, enabled };
    };
    expect(await told({ stdout: "4\r\n267009\r\n2026-11-21T20:10:00\r\n" })).toEqual({
      state: "running",
      since: "2026-11-21T20:10:00Z",
      status: "",
      enabled: true,
    });
    expect(await told({ stdout: "3\r\n2\r\n2026-11-21T20:10:00\r\n" })).toEqual({
      state: "failed",
      since: undefined,
      status: "ended with exit code 2",
      enabled: true,
    });
    expect(await told({ stdout: "1\r\n0\r\n" })).toMatchObject({ state: "stopped", enabled: false });
    expect(await told({ code: 1 })).toMatchObject({ state: "stopped", enabled: false });
  });

  test("needs an administrator, unless it is of one user", async () => {
    const { scheduler } = windows({ answers: () => ({ code: 2 }) });
    expect((await scheduler.obstacle("system"))?.why).toBe(
      "only an administrator may change services of the system",
    );
    expect(await scheduler.obstacle("user")).toBeUndefined();
    expect((await windows({ platform: "linux" }).scheduler.obstacle("user"))?.why).toBe("this is no Windows");
  });
});
