import { describe, expect, test } from "bun:test";
import { install, uninstall } from "../../src/service/install.ts";
import type { Ran } from "../../src/service/machine.ts";
import type { ServiceId, ServiceSpec } from "../../src/service/service.ts";
import { Systemd } from "../../src/service/systemd.ts";
import { FakeMachine, type FakeMachineParts } from "./fake-machine.ts";

// What a machine with systemd does with all this, systemd.test.ts tries on one.

const SERVE: ServiceId = { kind: "serve", name: undefined, scope: "system" };
const SPEC: ServiceSpec = {
  ...SERVE,
  executable: "/usr/local/bin/modelrelay",
  args: ["--tls", "--domain=relay.example.com"],
  secrets: [{ variable: "WORKER_SECRET", fileFlag: "--worker-secret-file", value: "the secret" }],
  dataDir: undefined,
};
const UNIT = "/etc/systemd/system/modelrelay.service";
const ENVIRONMENT = "/etc/modelrelay/serve.env";

function linux(parts: Partial<FakeMachineParts> = {}, version?: number) {
  const machine = new FakeMachine({ platform: "linux", uid: 0, userName: "root", ...parts });
  machine.makeDirectory("/run/systemd/system", 0o755);
  return { machine, systemd: new Systemd(machine, version) };
}

/** A machine that knows the user of the service by this entry. */
const knowing = (entry: string) => (command: readonly string[]) =>
  command[0] === "getent" ? { stdout: `${entry}\n` } : undefined;
/** One that does not. */
const knowingNobody = (command: readonly string[]) => (command[0] === "getent" ? { code: 2 } : undefined);
const OURS = "modelrelay:x:997:997:modelrelay relay:/var/lib/modelrelay:/usr/sbin/nologin";
const quiet = { purge: true, tell: () => {} };

/** What a failure says; nothing if there is none. */
const messageOf = (failing: Promise<unknown>): Promise<string> =>
  failing.then(
    () => "",
    (error: unknown) => (error as Error).message,
  );

async function installed(spec: ServiceSpec, parts: Partial<FakeMachineParts> = {}) {
  const { machine, systemd } = linux({ answers: knowing(OURS), ...parts });
  const told: string[] = [];
  await install(systemd.plan(spec), machine, (line) => told.push(line));
  return { machine, systemd, told };
}

describe("A service of systemd", () => {
  test("has the flags in its unit, and the secrets where only the superuser reads", async () => {
    const { machine } = await installed(SPEC);
    expect(machine.files.get(UNIT)).toMatchObject({ mode: 0o644 });
    expect(machine.read(UNIT)).toContain(
      "\nExecStart=/usr/local/bin/modelrelay serve --tls --domain=relay.example.com\n",
    );
    expect(machine.read(UNIT)).not.toContain("the secret");
    expect(machine.files.get(ENVIRONMENT)).toMatchObject({ mode: 0o600 });
    expect(machine.read(ENVIRONMENT)).toEndWith('\nWORKER_SECRET="the secret"\n');
    expect(machine.commands).toEqual([
      ["getent", "passwd", "modelrelay"],
      ["systemctl", "daemon-reload"],
      ["systemctl", "enable", "modelrelay.service"],
      ["systemctl", "restart", "--no-block", "modelrelay.service"],
    ]);
  });

  test("gets a user where there is none, by whichever program can make one", async () => {
    const { machine } = await installed(SPEC, { answers: knowingNobody });
    expect(machine.commands[1]?.slice(0, 3)).toEqual(["useradd", "--system", "--user-group"]);
    const without = await installed(SPEC, {
      answers: (command) => (command[0] === "useradd" ? { code: 127 } : knowingNobody(command)),
    });
    expect(without.machine.commands[2]).toEqual([
      "systemd-sysusers",
      "--inline",
      'u modelrelay - "modelrelay relay" /var/lib/modelrelay',
    ]);
    const failing = installed(SPEC, {
      answers: (command) =>
        command[0] === "useradd" ? { code: 1, stderr: "useradd: cannot lock\n" } : knowingNobody(command),
    });
    expect(await messageOf(failing)).toBe("Cannot make the user modelrelay: useradd: cannot lock");
  });

  test("uses a user of the system that is there already, and leaves it there at the end", async () => {
    const entry = "modelrelay:x:900:900:by hand:/:/bin/false";
    const { machine, systemd, told } = await installed(SPEC, { answers: knowing(entry) });
    expect(told).toContain("The user modelrelay was there already, and is used as it is");
    await uninstall(SERVE, systemd, { machine, ...quiet });
    expect(machine.commands.some(([program]) => program === "userdel")).toBe(false);
  });

  test("takes its own user away once no data is left of it", async () => {
    const { machine, systemd } = await installed(SPEC);
    machine.makeDirectory("/var/lib/modelrelay", 0o700);
    await uninstall(SERVE, systemd, { machine, purge: false, tell: () => {} });
    expect(machine.commands.some(([program]) => program === "userdel")).toBe(false);
    await uninstall(SERVE, systemd, { machine, ...quiet });
    expect(machine.commands.at(-1)).toEqual(["userdel", "modelrelay"]);
    expect(machine.exists("/var/lib/modelrelay")).toBe(false);
  });

  test("leaves an environment file that a person has written, with what was set in it", async () => {
    const { machine, systemd } = linux({ answers: knowing(OURS) });
    machine.write(ENVIRONMENT, "# My own\nLISTEN_ADDR=:8080\n", 0o600);
    await install(systemd.plan(SPEC), machine, () => {});
    expect(machine.read(ENVIRONMENT)).toBe('# My own\nLISTEN_ADDR=:8080\nWORKER_SECRET="the secret"\n');
    expect(systemd.variables(SERVE)).toEqual({ LISTEN_ADDR: ":8080", WORKER_SECRET: "the secret" });
    await uninstall(SERVE, systemd, { machine, ...quiet });
    expect([...machine.files.keys()]).toEqual([ENVIRONMENT]);
  });

  test("says of a step that failed what it was and what it said", async () => {
    const answers = (command: readonly string[]): Partial<Ran> | undefined =>
      command.includes("enable")
        ? { code: 1, stderr: "hint\nFailed to enable unit: x\n" }
        : knowing(OURS)(command);
    expect(await messageOf(installed(SPEC, { answers }))).toBe(
      "Cannot run systemctl enable modelrelay.service: Failed to enable unit: x",
    );
  });

  test("of one user runs without a login, which ends with the service that asked for it", async () => {
    const user = { uid: 1000, userName: "ada", home: "/home/ada" };
    const spec: ServiceSpec = { ...SPEC, scope: "user" };
    const { machine, systemd } = await installed(spec, user);
    expect(machine.commands).toEqual([
      ["loginctl", "enable-linger", "ada"],
      ["systemctl", "--user", "daemon-reload"],
      ["systemctl", "--user", "enable", "modelrelay.service"],
      ["systemctl", "--user", "restart", "--no-block", "modelrelay.service"],
    ]);
    machine.write("/var/lib/systemd/linger/ada", "", 0o644);
    // A second time it is there because of the first.
    await install(systemd.plan(spec), machine, () => {});
    await uninstall(spec, systemd, { machine, ...quiet });
    expect(machine.commands).toContainEqual(["loginctl", "disable-linger", "ada"]);

    const lingering = linux(user);
    lingering.machine.write("/var/lib/systemd/linger/ada", "", 0o644);
    await install(lingering.systemd.plan(spec), lingering.machine, () => {});
    await uninstall(spec, lingering.systemd, { machine: lingering.machine, ...quiet });
    expect(lingering.machine.commands.filter(([program]) => program === "loginctl")).toEqual([]);
  });

  test("of one user is told that it ends with the session, where nobody may change that", async () => {
    const { told } = await installed(
      { ...SPEC, scope: "user" },
      {
        uid: 1000,
        userName: "ada",
        answers: ([program]) => (program === "loginctl" ? { code: 1 } : undefined),
      },
    );
    expect(told).toContain(
      "The service ends when ada logs out, and does not start with the machine: allow that with sudo loginctl enable-linger ada",
    );
  });

  test("is not installed without systemd, without rights, or without the user's own manager", async () => {
    const { machine, systemd } = linux({
      uid: 1000,
      answers: () => ({ code: 1, stderr: "a\nNo such file\n" }),
    });
    expect((await systemd.obstacle("system"))?.why).toBe(
      "only the superuser may change services of the system",
    );
    expect((await systemd.obstacle("user"))?.why).toBe(
      "the manager of services of the user root does not answer (No such file)",
    );
    machine.removeTree("/run/systemd/system");
    expect((await systemd.obstacle("user"))?.why).toBe("systemd does not run this machine");
    expect(await linux().systemd.obstacle("system")).toBeUndefined();
  });

  test("is shown as systemctl tells of it", async () => {
    const told = async (...lines: string[]) => {
      const { systemd } = linux({ answers: () => ({ stdout: lines.join("\n") }) });
      return systemd.state(SERVE);
    };
    const running = [
      "ActiveState=active",
      "SubState=running",
      "MainPID=7",
      "NRestarts=2",
      "UnitFileState=enabled",
    ];
    const since = "ExecMainStartTimestamp=Sat 2026-11-21 20:10:05 UTC";
    expect(
      await told(...running, since, "StatusText=Listens", "NeedDaemonReload=yes", "InvocationID=ab"),
    ).toEqual({
      state: "running",
      pid: 7,
      since: "2026-11-21T20:10:05Z",
      restarts: 2,
      status: "Listens",
      enabled: true,
      changed: true,
      start: "ab",
    });
    const state = async (...lines: string[]) => (await told(...lines)).state;
    expect(await state(...running, "StatusText=Waits for a certificate")).toBe("waiting");
    // A restart has been asked for, and what is seen is of before.
    expect(await state(...running, "Job=99")).toBe("starting");
    expect(await state("ActiveState=failed", "Job=99")).toBe("starting");
    expect(await state("ActiveState=reloading", "Job=99", "MainPID=7")).toBe("running");
    expect(await state("ActiveState=activating", "SubState=auto-restart")).toBe("restarting");
    expect(await state("ActiveState=activating", "SubState=start")).toBe("starting");
    expect(await state("ActiveState=deactivating", "Job=99")).toBe("stopping");
    expect(await state("ActiveState=failed")).toBe("failed");
    expect(await state("ActiveState=inactive")).toBe("stopped");
  });
});
