import type { Machine } from "./machine.ts";
import {
  isNamed,
  type LogLines,
  type Obstacle,
  type Plan,
  type Removal,
  type RunState,
  type Scope,
  type ServiceId,
  type ServiceSpec,
  type ServiceState,
  type Supervisor,
} from "./service.ts";
import { element, plainText, xmlText } from "./xml.ts";

/** The folder of the tasks; those of a user have the user's name in theirs, for all share one list. */
const FOLDER = String.raw`\modelrelay`;
const WRITTEN_BY = "Written by modelrelay service install; modelrelay service uninstall removes it.";
/** LOCAL SERVICE: hardly any rights, and there on every Windows. */
const LOCAL_SERVICE = "S-1-5-19";
const ADMINISTRATORS = "S-1-5-32-544";

/** Services of Windows: tasks that start with the machine, or with the session of a user. */
export class TaskScheduler implements Supervisor {
  readonly handsOver = false;
  readonly hearsReadiness = false;
  readonly #machine: Machine;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  async obstacle(scope: Scope): Promise<Obstacle | undefined> {
    if (this.#machine.platform !== "win32")
      return { why: "this is no Windows", action: "Add --print to see what would be written" };
    if (scope === "user") return undefined;
    // It lists sessions of other computers, for which one has to be an administrator.
    const { code } = await this.#machine.run(["net", "session"]);
    if (code === 0) return undefined;
    return {
      why: "only an administrator may change services of the system",
      action: "Open the terminal with “Run as administrator”, or add --user for a service of your own",
    };
  }

  unitName({ kind, name, scope }: ServiceId): string {
    const folder = scope === "system" ? FOLDER : `${FOLDER}\\${this.#machine.userName}`;
    return `${folder}\\${this.#plainName({ kind, name })}`;
  }

  plan(spec: ServiceSpec): Plan {
    const { scope, dataDir, secrets } = spec;
    const folder = this.#folder(scope);
    const task = this.unitName(spec);
    const protect = (path: string): string[][] =>
      scope === "system"
        ? [
            ["icacls", path, "/inheritance:r"],
            ["icacls", path, "/grant", `*${ADMINISTRATORS}:(OI)(CI)F`, `*${LOCAL_SERVICE}:(OI)(CI)M`],
          ]
        : [];
    return {
      directories: [
        { path: folder, mode: 0o700 },
        ...(dataDir === undefined && scope === "user"
          ? []
          : [{ path: dataDir ?? `${folder}\\data`, mode: 0o700 }]),
      ],
      files: [
        ...secrets.map((secret) => ({
          path: this.#secretFile(spec, secret.fileFlag),
          content: `${secret.value}\r\n`,
          mode: 0o600,
          isSecret: true as const,
        })),
        { path: this.definition(spec), content: utf16(this.#task(spec)), mode: 0o600 },
      ],
      steps: [
        ...[...protect(folder), ...(dataDir === undefined ? [] : protect(dataDir))].map((command) => ({
          command,
        })),
        { command: ["schtasks", "/End", "/TN", task], otherwise: "" },
        { command: ["schtasks", "/Create", "/F", "/TN", task, "/XML", this.definition(spec)] },
        { command: ["schtasks", "/Run", "/TN", task] },
      ],
    };
  }

  variables(): Record<string, string> {
    return {};
  }

  /** The task as it was given to the scheduler, which keeps one of its own. */
  definition(id: ServiceId): string {
    return `${this.#folder(id.scope)}\\${this.#plainName(id)}.xml`;
  }

  isOurs(id: ServiceId): boolean {
    return this.#machine.exists(this.definition(id));
  }

  removal(id: ServiceId): Removal {
    const folder = this.#folder(id.scope);
    const task = this.unitName(id);
    const own = `${this.#plainName(id)}.`;
    const definition = plainText(this.#machine.read(this.definition(id)) ?? "");
    const [, quotedDir, dir] = /"--data-dir=([^"]+)"|\s--data-dir=(\S+)/.exec(definition) ?? [];
    const files = this.#machine.list(folder).filter((name) => name.startsWith(own));
    return {
      before: [
        ["schtasks", "/End", "/TN", task],
        ["schtasks", "/Delete", "/F", "/TN", task],
      ],
      files: files.map((name) => `${folder}\\${name}`),
      after: [],
      emptied: [folder],
      data: id.kind === "serve" ? [quotedDir ?? dir ?? this.#usualData(id.scope)] : [],
    };
  }

  installed(scope: Scope): Promise<ServiceId[]> {
    const ids = this.#machine.list(this.#folder(scope)).flatMap((file): ServiceId[] => {
      const match = /^(serve|worker-(.+))\.xml$/.exec(file);
      if (match === null) return [];
      return [{ kind: match[1] === "serve" ? "serve" : "worker", name: match[2], scope }];
    });
    return Promise.resolve(ids);
  }

  async state(id: ServiceId): Promise<ServiceState> {
    // schtasks tells states in the language of the system; these are numbers.
    const path = this.unitName(id).replace(/[^\\]*$/, "");
    const name = `-TaskPath '${path}' -TaskName '${this.#plainName(id)}'`;
    const query = `$t = Get-ScheduledTask ${name}; $i = Get-ScheduledTaskInfo ${name}; [int]$t.State; $i.LastTaskResult; $i.LastRunTime.ToUniversalTime().ToString('s')`;
    const { code, stdout } = await this.#machine.run(["powershell", "-NoProfile", "-Command", query]);
    const [state, result, since] = stdout.split(/\r?\n/);
    const isRunning = state === "4";
    return {
      state: code === 0 ? runState(Number(state), Number(result)) : "stopped",
      pid: undefined,
      since: isRunning && since !== undefined ? `${since}Z` : undefined,
      restarts: undefined,
      status: isRunning || Number(result) === 0 ? "" : `ended with exit code ${result}`,
      enabled: code === 0 && state !== "1",
      changed: false,
      start: undefined,
    };
  }

  restart(id: ServiceId): string[][] {
    const task = this.unitName(id);
    return [
      ["schtasks", "/End", "/TN", task],
      ["schtasks", "/Run", "/TN", task],
    ];
  }

  logCommand(id: ServiceId, { lines, follow = false }: LogLines): string[] {
    const path = this.#logFile(id).replaceAll("'", "''");
    const script = `Get-Content -Encoding UTF8 -LiteralPath '${path}' -Tail ${lines}${follow ? " -Wait" : ""}`;
    return ["powershell", "-NoProfile", "-Command", script];
  }

  /** As the task scheduler's schema 1.2 has it, which every Windows since Vista reads. */
  #task(spec: ServiceSpec): string {
    const { scope } = spec;
    const user = `${this.#machine.env["USERDOMAIN"] ?? "."}\\${this.#machine.userName}`;
    const [trigger, principal] =
      scope === "system"
        ? ["<BootTrigger/>", element("UserId", LOCAL_SERVICE)]
        : [
            `<LogonTrigger>${element("UserId", user)}</LogonTrigger>`,
            `${element("UserId", user)}<LogonType>InteractiveToken</LogonType>`,
          ];
    return `<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    ${element("Description", WRITTEN_BY)}
  </RegistrationInfo>
  <Triggers>
    ${trigger}
  </Triggers>
  <Principals>
    <Principal id="Author">
      ${principal}
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Priority>5</Priority>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>255</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>%SystemRoot%\\System32\\cmd.exe</Command>
      <Arguments>${xmlText(this.#commandLine(spec))}</Arguments>
      ${element("WorkingDirectory", this.#folder(scope))}
    </Exec>
  </Actions>
</Task>
`;
  }

  /** A task has no output of its own: the command interpreter appends it to a file. */
  #commandLine(spec: ServiceSpec): string {
    const { kind, name, executable, args, secrets, scope, dataDir } = spec;
    const words = [
      executable,
      kind,
      ...(name === undefined || isNamed(args) ? [] : [`--worker-name=${name}`]),
      // What LOCAL SERVICE has for its data is where nobody looks.
      ...(kind === "serve" && dataDir === undefined && scope === "system"
        ? [`--data-dir=${this.#usualData(scope)}`]
        : []),
      ...args,
      ...secrets.map((secret) => `${secret.fileFlag}=${this.#secretFile(spec, secret.fileFlag)}`),
    ];
    // cmd takes the outermost quotes away.
    return `/d /s /c "${[...words.map(quoted), ">>", quoted(this.#logFile(spec)), "2>&1"].join(" ")}"`;
  }

  #plainName({ kind, name }: Pick<ServiceId, "kind" | "name">): string {
    return name === undefined ? kind : `${kind}-${name}`;
  }

  #folder(scope: Scope): string {
    const { env, home } = this.#machine;
    const base =
      scope === "system"
        ? (env["ProgramData"] ?? String.raw`C:\ProgramData`)
        : (env["LOCALAPPDATA"] ?? `${home}\\AppData\\Local`);
    return `${base}\\modelrelay-service`;
  }

  #usualData(scope: Scope): string {
    const folder = this.#folder(scope);
    return scope === "system" ? `${folder}\\data` : folder.replace(/-service$/, "");
  }

  #logFile(id: ServiceId): string {
    return `${this.#folder(id.scope)}\\${this.#plainName(id)}.log`;
  }

  #secretFile(id: ServiceId, fileFlag: string): string {
    const what = fileFlag.replace(/^--/, "").replace(/-file$/, "");
    return `${this.#folder(id.scope)}\\${this.#plainName(id)}.${what}`;
  }
}

/** What no quotes keep from cmd, which would put a variable there or end the word. */
export const UNQUOTABLE = /["%\r\n]/;

function quoted(word: string): string {
  return /^[\w.:\\/=,@+-]+$/.test(word) ? word : `"${word.replace(/\\+$/, "$&$&")}"`;
}

/** The scheduler reads UTF-16 with a mark of the order of its bytes. */
function utf16(text: string): Uint8Array {
  return Buffer.from(`\uFEFF${text.replaceAll("\n", "\r\n")}`, "utf16le");
}

/** State of MSFT_ScheduledTask: 1 disabled, 2 queued, 3 ready, 4 running. */
function runState(state: number, result: number): RunState {
  if (state === 4) return "running";
  if (state === 2) return "starting";
  return result === 0 ? "stopped" : "failed";
}
