import { describe, expect, test } from "bun:test";
import { install, uninstall } from "../../src/service/install.ts";
import { Launchd } from "../../src/service/launchd.ts";
import type { Ran } from "../../src/service/machine.ts";
import type { ServiceId, ServiceSpec } from "../../src/service/service.ts";
import { FakeMachine, type FakeMachineParts } from "./fake-machine.ts";

const WORKER: ServiceId = { kind: "worker", name: "gpu-box", scope: "system" };
const SPEC: ServiceSpec = {
  ...WORKER,
  executable: "/usr/local/bin/modelrelay",
  args: ["--proxy-url=https://relay.example.com", '--models=a=<b> & "c"'],
  secrets: [{ variable: "WORKER_SECRET", fileFlag: "--worker-secret-file", value: "the secret" }],
  dataDir: undefined,
};
const DEFINITION = "/Library/LaunchDaemons/modelrelay.worker.gpu-box.plist";
const CONFIG = "/Library/Application Support/modelrelay-service";
const SECRET = `${CONFIG}/modelrelay.worker.gpu-box.worker-secret`;

/** macOS as the user ada has it with sudo. */
function mac(parts: Partial<FakeMachineParts> = {}) {
  const machine = new FakeMachine({
    platform: "darwin",
    home: "/var/root",
    uid: 0,
    userName: "root",
    env: { SUDO_USER: "ada" },
    answers: ([program, flag]) =>
      program === "id" ? { stdout: flag === "-u" ? "501\n" : "20\n" } : undefined,
    ...parts,
  });
  return { machine, launchd: new Launchd(machine) };
}

/** What Python's own reader finds in a property list. */
function parsed(plist: string): unknown {
  const script = "import sys, plistlib, json; print(json.dumps(plistlib.loads(sys.stdin.buffer.read())))";
  const { stdout, stderr } = Bun.spawnSync(["python3", "-c", script], { stdin: Buffer.from(plist) });
  if (stderr.length > 0) throw new Error(stderr.toString());
  return JSON.parse(stdout.toString());
}

describe("A service of macOS", () => {
  test("runs as the user who installs it, from the start of the machine, and again when it fails", async () => {
    const { machine, launchd } = mac();
    await install(launchd.plan(SPEC), machine, () => {});
    const log = "/Library/Logs/modelrelay/modelrelay.worker.gpu-box.log";
    expect(parsed(machine.read(DEFINITION) ?? "")).toEqual({
      Label: "modelrelay.worker.gpu-box",
      ProgramArguments: [
        "/usr/local/bin/modelrelay",
        "worker",
        "--worker-name=gpu-box",
        ...SPEC.args,
        `--worker-secret-file=${SECRET}`,
      ],
      UserName: "ada",
      RunAtLoad: true,
      KeepAlive: { SuccessfulExit: false },
      ThrottleInterval: 10,
      ExitTimeOut: 60,
      ProcessType: "Interactive",
      Umask: 0o077,
      SoftResourceLimits: { NumberOfFiles: 65536 },
      HardResourceLimits: { NumberOfFiles: 65536 },
      WorkingDirectory: "/",
      StandardOutPath: log,
      StandardErrorPath: log,
    });
    expect(machine.commands.filter(([program]) => program === "launchctl")).toEqual([
      ["launchctl", "bootout", "system/modelrelay.worker.gpu-box"],
      ["launchctl", "enable", "system/modelrelay.worker.gpu-box"],
      ["launchctl", "bootstrap", "system", DEFINITION],
    ]);
  });

  test("has its secrets in files that its user alone reads", async () => {
    const { machine, launchd } = mac();
    await install(launchd.plan(SPEC), machine, () => {});
    expect(machine.files.get(SECRET)).toEqual({ content: "the secret\n", mode: 0o600, owner: 501 });
    expect(machine.directories.get(CONFIG)).toEqual({ mode: 0o700, owner: 501 });
    expect(machine.read(DEFINITION)).not.toContain("the secret");
  });

  test("of one user belongs to the session of that user", async () => {
    const { machine, launchd } = mac({ home: "/Users/ada", uid: 501, userName: "ada", env: {} });
    await install(launchd.plan({ ...SPEC, scope: "user" }), machine, () => {});
    const path = "/Users/ada/Library/LaunchAgents/modelrelay.worker.gpu-box.plist";
    expect(parsed(machine.read(path) ?? "")).not.toHaveProperty("UserName");
    expect(machine.commands.at(-1)).toEqual(["launchctl", "bootstrap", "gui/501", path]);
  });

  test("leaves nothing behind when it is uninstalled, and other services alone", async () => {
    const { machine, launchd } = mac();
    const other: ServiceSpec = { ...SPEC, name: "other" };
    for (const spec of [SPEC, other]) await install(launchd.plan(spec), machine, () => {});
    machine.write("/Library/LaunchDaemons/com.example.plist", "", 0o644);
    expect(await launchd.installed("system")).toEqual([WORKER, { ...WORKER, name: "other" }]);
    for (const name of ["gpu-box", "other"])
      await uninstall({ ...WORKER, name }, launchd, { machine, purge: false, tell: () => {} });
    expect([...machine.files.keys()]).toEqual(["/Library/LaunchDaemons/com.example.plist"]);
    expect([...machine.directories.keys()]).toEqual([]);
    expect(machine.commands.at(-1)).toEqual(["launchctl", "bootout", "system/modelrelay.worker.other"]);
  });

  test("keeps the directory for data that it was given, unless that is to go as well", async () => {
    const { machine, launchd } = mac();
    const id: ServiceId = { kind: "serve", name: undefined, scope: "system" };
    const dataDir = "/opt/relay & co";
    const spec: ServiceSpec = { ...SPEC, ...id, args: [`--data-dir=${dataDir}`], secrets: [], dataDir };
    await install(launchd.plan(spec), machine, () => {});
    expect(machine.directories.get(dataDir)).toEqual({ mode: 0o700, owner: 501 });
    await uninstall(id, launchd, { machine, purge: false, tell: () => {} });
    expect(machine.exists(dataDir)).toBe(true);
    await install(launchd.plan(spec), machine, () => {});
    await uninstall(id, launchd, { machine, purge: true, tell: () => {} });
    expect(machine.exists(dataDir)).toBe(false);
  });

  test("is not installed without rights, for the superuser, or on another system", async () => {
    const why = async (parts: Partial<FakeMachineParts>, scope: "system" | "user" = "system") =>
      (await mac(parts).launchd.obstacle(scope))?.why;
    expect(await why({})).toBeUndefined();
    expect(await why({ uid: 501, userName: "ada" })).toBe(
      "only the superuser may change services of the system",
    );
    expect(await why({ uid: 501, userName: "ada" }, "user")).toBeUndefined();
    expect(await why({}, "user")).toBe("the superuser has no session");
    expect(await why({ env: {} })).toBe(
      "a service does not run as the superuser, and no other user is known",
    );
    expect(await why({ platform: "linux" })).toBe("this is no macOS");
  });

  test("is shown as launchctl tells of it", async () => {
    const told = async (answer: Partial<Ran>) => {
      const { launchd } = mac({ answers: () => answer });
      const { state, pid, restarts, status } = await launchd.state(WORKER);
      return { state, pid, restarts, status };
    };
    const running =
      "system/modelrelay.worker.gpu-box = {\n\tactive count = 1\n\tstate = running\n\truns = 3\n\tpid = 512\n\tlast exit code = 1\n}\n";
    expect(await told({ stdout: running })).toEqual({ state: "running", pid: 512, restarts: 2, status: "" });
    const failed = "x = {\n\tstate = not running\n\truns = 1\n\tlast exit code = 2\n}\n";
    expect(await told({ stdout: failed })).toEqual({
      state: "failed",
      pid: undefined,
      restarts: 0,
      status: "ended with exit code 2",
    });
    const again = "x = {\n\tstate = spawn scheduled\n\truns = 2\n\tlast exit code = 1\n}\n";
    expect((await told({ stdout: again })).state).toBe("restarting");
    expect((await told({ code: 113, stderr: "Could not find service" })).state).toBe("stopped");
  });
});
