import { isWaiting } from "../base/service-manager.ts";
import { lastLine, type Machine, type Ran } from "./machine.ts";
import type {
  LogLines,
  Obstacle,
  Plan,
  Removal,
  RunState,
  Scope,
  ServiceId,
  ServiceSpec,
  ServiceState,
  Step,
  Supervisor,
} from "./service.ts";
import { readVariables, withVariables } from "./systemd-quote.ts";
import { unitText, WRITTEN_BY } from "./systemd-unit.ts";

const USER = { name: "modelrelay", home: "/var/lib/modelrelay", about: "modelrelay relay" };
const ENVIRONMENT_HEAD = `# Written by modelrelay service install. Secrets, for nobody else to read.\n`;
/** Where the directory of the data is written down, if it is not the usual one. */
const DATA_LINE = "# Data: ";
/** Stands in the unit if the user's services run without a login for its sake alone. */
const LINGER_LINE = "# Made: lingering";
const SHOWN =
  "ActiveState,SubState,Job,MainPID,NRestarts,StatusText,UnitFileState,ExecMainStartTimestamp,NeedDaemonReload,InvocationID";
const UNIT = /^modelrelay(?:-worker@(.+))?\.service$/;

/** Services of Linux machines that systemd runs. */
export class Systemd implements Supervisor {
  readonly handsOver = true;
  readonly hearsReadiness = true;
  readonly #machine: Machine;
  readonly #version: number | undefined;

  /** @param version of the systemd that reads the units */
  constructor(machine: Machine, version?: number) {
    this.#machine = machine;
    this.#version = version;
  }

  async obstacle(scope: Scope): Promise<Obstacle | undefined> {
    // sd_booted(3).
    if (!this.#machine.exists("/run/systemd/system")) {
      return {
        why: "systemd does not run this machine",
        action:
          "Have what starts programs here run the command itself, and use --print to see what a service would be given",
      };
    }
    if (scope === "system") {
      if (this.#machine.uid === 0) return undefined;
      return {
        why: "only the superuser may change services of the system",
        action: "Put sudo before the command, or add --user for a service of your own",
      };
    }
    const { code, stderr } = await this.#machine.run(this.#systemctl(scope, "show-environment"));
    if (code === 0) return undefined;
    return {
      why: `the manager of services of the user ${this.#machine.userName} does not answer (${lastLine(stderr)})`,
      action: `Log in as that user (su and sudo are no login), or have it run at all times: sudo loginctl enable-linger ${this.#machine.userName}`,
    };
  }

  unitName({ kind, name }: ServiceId): string {
    return kind === "serve" ? "modelrelay.service" : `modelrelay-worker@${name}.service`;
  }

  plan(spec: ServiceSpec): Plan {
    const { scope, kind, executable, args, dataDir, secrets } = spec;
    const configDir = this.#configDir(scope);
    const isSystem = scope === "system";
    const lingers = isSystem || this.#lingersWithout(spec);
    const head = [
      WRITTEN_BY,
      ...(dataDir === undefined ? [] : [`${DATA_LINE}${dataDir}`]),
      ...(lingers ? [] : [LINGER_LINE]),
    ].join("\n");
    const writable = isSystem && dataDir !== undefined ? [dataDir] : [];
    const version = this.#version;
    const environment = this.#environmentFile(spec);
    const before = this.#machine.read(environment) ?? ENVIRONMENT_HEAD;
    const variables = Object.fromEntries(secrets.map(({ variable, value }) => [variable, value]));
    const unit = this.unitName(spec);
    return {
      ...(isSystem && kind === "serve" && { user: USER }),
      directories: [
        { path: configDir, mode: 0o755 },
        ...(dataDir === undefined
          ? []
          : [{ path: dataDir, mode: 0o700, ...(isSystem && { owner: USER.name }) }]),
      ],
      files: [
        { path: environment, content: withVariables(before, variables), mode: 0o600, isSecret: true },
        {
          path: this.definition(spec),
          content: unitText({
            kind,
            scope,
            executable,
            args,
            configDir,
            writable,
            head,
            ...(version !== undefined && { version }),
          }),
          mode: 0o644,
        },
      ],
      steps: [
        ...(lingers ? [] : [this.#linger()]),
        { command: this.#systemctl(scope, "daemon-reload") },
        { command: this.#systemctl(scope, "enable", unit) },
        // It may run already, with what stood there before.
        { command: this.#systemctl(scope, "restart", "--no-block", unit) },
      ],
    };
  }

  variables(id: ServiceId): Record<string, string> {
    const shared = id.kind === "worker" ? [`${this.#configDir(id.scope)}/worker.env`] : [];
    return Object.assign(
      {},
      ...[...shared, this.#environmentFile(id)].map((path) => readVariables(this.#machine.read(path) ?? "")),
    ) as Record<string, string>;
  }

  definition(id: ServiceId): string {
    return `${this.#unitDir(id.scope)}/${this.unitName(id)}`;
  }

  isOurs(id: ServiceId): boolean {
    return this.#machine.read(this.definition(id))?.startsWith(WRITTEN_BY) === true;
  }

  removal(id: ServiceId): Removal {
    const { scope, kind } = id;
    const unit = this.unitName(id);
    const environment = this.#environmentFile(id);
    const lines = (this.#machine.read(this.definition(id)) ?? "").split("\n");
    const ownDir = lines.find((line) => line.startsWith(DATA_LINE))?.slice(DATA_LINE.length);
    const isRelayOfSystem = scope === "system" && kind === "serve";
    return {
      before: [
        this.#systemctl(scope, "disable", "--now", unit),
        ...(lines.includes(LINGER_LINE) ? [["loginctl", "disable-linger", this.#machine.userName]] : []),
      ],
      files: [
        this.definition(id),
        // One that somebody wrote by hand is theirs.
        ...(this.#machine.read(environment)?.startsWith(ENVIRONMENT_HEAD) === true ? [environment] : []),
      ],
      after: [this.#systemctl(scope, "daemon-reload"), this.#systemctl(scope, "reset-failed", unit)],
      emptied: [this.#configDir(scope)],
      data: kind === "serve" ? [ownDir ?? this.#usualData(scope)] : [],
      ...(isRelayOfSystem && { user: USER }),
    };
  }

  async installed(scope: Scope): Promise<ServiceId[]> {
    const patterns = ["modelrelay.service", "modelrelay-worker@*.service"];
    const flags = ["--plain", "--no-legend", "--full"];
    const listed = await Promise.all([
      this.#machine.run(this.#systemctl(scope, "list-unit-files", ...flags, ...patterns)),
      this.#machine.run(this.#systemctl(scope, "list-units", "--all", ...flags, ...patterns)),
    ]);
    const names = new Set(
      listed
        .flatMap(({ stdout }) => stdout.split("\n"))
        .map((line) => line.split(/\s+/)[0] ?? "")
        .filter((name) => UNIT.test(name)),
    );
    if (names.size === 0) return [];
    const { stdout } = await this.#machine.run(
      this.#systemctl(scope, "show", "--property=Id,FragmentPath", ...names),
    );
    return stdout.split("\n\n").flatMap((properties): ServiceId[] => {
      // One whose file is gone is listed as long as something refers to it.
      const [, path = ""] = /^FragmentPath=(.+)$/m.exec(properties) ?? [];
      const [, unit = ""] = /^Id=(.+)$/m.exec(properties) ?? [];
      const match = UNIT.exec(unit);
      if (match === null || !this.#machine.exists(path)) return [];
      return [{ kind: match[1] === undefined ? "serve" : "worker", name: match[1], scope }];
    });
  }

  async state(id: ServiceId): Promise<ServiceState> {
    const command = this.#systemctl(id.scope, "show", `--property=${SHOWN}`);
    return stateOf(await this.#machine.run([...command, this.unitName(id)]));
  }

  restart(id: ServiceId, cold: boolean): string[][] {
    const unit = this.unitName(id);
    if (id.kind === "serve" && !cold) return [this.#systemctl(id.scope, "reload", "--no-block", unit)];
    return [
      this.#systemctl(id.scope, "daemon-reload"),
      this.#systemctl(id.scope, "restart", "--no-block", unit),
    ];
  }

  logCommand(id: ServiceId, { lines, follow = false, start }: LogLines): string[] {
    const isUser = id.scope === "user";
    const byManager = isUser ? "USER_INVOCATION_ID" : "INVOCATION_ID";
    return [
      "journalctl",
      ...(isUser ? ["--user"] : []),
      `--lines=${lines}`,
      "--output=cat",
      "--no-pager",
      ...(follow ? ["--follow"] : []),
      ...(start === undefined
        ? [`--unit=${this.unitName(id)}`]
        : [`_SYSTEMD_INVOCATION_ID=${start}`, "+", `${byManager}=${start}`]),
    ];
  }

  /** Whether the services of this user run without a login, or will, whatever this installation does. */
  #lingersWithout(id: ServiceId): boolean {
    if (!this.#machine.exists(`/var/lib/systemd/linger/${this.#machine.userName}`)) return false;
    return this.#machine.read(this.definition(id))?.includes(LINGER_LINE) !== true;
  }

  #linger(): Step {
    const { userName } = this.#machine;
    return {
      command: ["loginctl", "enable-linger", userName],
      otherwise: `The service ends when ${userName} logs out, and does not start with the machine: allow that with sudo loginctl enable-linger ${userName}`,
    };
  }

  #systemctl(scope: Scope, ...args: string[]): string[] {
    return ["systemctl", ...(scope === "user" ? ["--user"] : []), ...args];
  }

  #unitDir(scope: Scope): string {
    return scope === "system" ? "/etc/systemd/system" : `${this.#userConfig()}/systemd/user`;
  }

  #configDir(scope: Scope): string {
    return scope === "system" ? "/etc/modelrelay" : `${this.#userConfig()}/modelrelay`;
  }

  #environmentFile({ scope, kind, name }: ServiceId): string {
    return `${this.#configDir(scope)}/${kind === "serve" ? "serve" : `worker-${name}`}.env`;
  }

  /** XDG Base Directory Specification. */
  #userConfig(): string {
    const given = this.#machine.env["XDG_CONFIG_HOME"];
    return given?.startsWith("/") === true ? given : `${this.#machine.home}/.config`;
  }

  #usualData(scope: Scope): string {
    if (scope === "system") return USER.home;
    const given = this.#machine.env["XDG_DATA_HOME"];
    return `${given?.startsWith("/") === true ? given : `${this.#machine.home}/.local/share`}/modelrelay`;
  }
}

/** Major version of the systemd of this machine; `undefined` if it does not say. */
export async function systemdVersion(machine: Machine): Promise<number | undefined> {
  const { stdout } = await machine.run(["systemctl", "--version"]);
  const found = /^systemd (\d+)/.exec(stdout)?.[1];
  return found === undefined ? undefined : Number(found);
}

function stateOf({ stdout }: Ran): ServiceState {
  const properties = new Map(
    stdout.split("\n").map((line) => {
      const at = line.indexOf("=");
      return [line.slice(0, at), line.slice(at + 1)] as const;
    }),
  );
  const of = (name: string): string => properties.get(name) ?? "";
  const status = of("StatusText");
  const [, day, time] = / (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC$/.exec(of("ExecMainStartTimestamp")) ?? [];
  const pid = Number(of("MainPID"));
  // What was asked for is still to come, so what is there is of before.
  const isQueued = Number(of("Job")) > 0 && !/^(reloading|(de)?activating)$/.test(of("ActiveState"));
  return {
    state: isQueued ? "starting" : runState(of("ActiveState"), of("SubState"), status),
    pid: pid > 0 ? pid : undefined,
    since: day === undefined || !(pid > 0) ? undefined : `${day}T${time}Z`,
    restarts: Number(of("NRestarts")) || 0,
    status: pid > 0 ? status : "",
    enabled: of("UnitFileState").startsWith("enabled"),
    changed: of("NeedDaemonReload") === "yes",
    start: of("InvocationID") || undefined,
  };
}

function runState(active: string, sub: string, status: string): RunState {
  switch (active) {
    case "active":
    case "reloading":
      return isWaiting(status) ? "waiting" : "running";
    case "activating":
      return sub === "auto-restart" ? "restarting" : "starting";
    case "deactivating":
      return "stopping";
    case "failed":
      return "failed";
    default:
      return "stopped";
  }
}
