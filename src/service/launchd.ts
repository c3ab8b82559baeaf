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
import { element, indented, plainText, xmlText } from "./xml.ts";

const PREFIX = "modelrelay.";
const LABEL = /^modelrelay\.(serve|worker(?:\.(.+))?)\.plist$/;
const WRITTEN_BY = "<!-- Written by modelrelay service install; modelrelay service uninstall removes it. -->";

/** Services of macOS. What launchd runs for the machine runs as the user who installs it. */
export class Launchd implements Supervisor {
  readonly handsOver = false;
  readonly hearsReadiness = false;
  readonly #machine: Machine;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  obstacle(scope: Scope): Promise<Obstacle | undefined> {
    return Promise.resolve(this.#obstacle(scope));
  }

  #obstacle(scope: Scope): Obstacle | undefined {
    const { platform, uid } = this.#machine;
    if (platform !== "darwin")
      return { why: "this is no macOS", action: "Add --print to see what would be written" };
    if (scope === "user")
      return uid === 0 ? { why: "the superuser has no session", action: "Leave sudo away" } : undefined;
    if (uid !== 0) {
      return {
        why: "only the superuser may change services of the system",
        action: "Put sudo before the command, or add --user for a service of your own",
      };
    }
    return this.#owner() === "root"
      ? {
          why: "a service does not run as the superuser, and no other user is known",
          action:
            "Use sudo in the session of the user whose service it shall be, rather than logging in as root",
        }
      : undefined;
  }

  unitName({ kind, name }: ServiceId): string {
    return `${PREFIX}${kind}${name === undefined ? "" : `.${name}`}`;
  }

  plan(spec: ServiceSpec): Plan {
    const { scope, secrets, dataDir } = spec;
    const owner = scope === "system" ? { owner: this.#owner() } : {};
    const domain = this.#domain(scope);
    const definition = this.definition(spec);
    const target = `${domain}/${this.unitName(spec)}`;
    return {
      directories: [
        { path: this.#configDir(scope), mode: 0o700, ...owner },
        { path: this.#logDir(scope), mode: 0o700, ...owner },
        ...(dataDir === undefined ? [] : [{ path: dataDir, mode: 0o700, ...owner }]),
      ],
      files: [
        ...secrets.map((secret) => ({
          path: this.#secretFile(spec, secret.fileFlag),
          content: `${secret.value}\n`,
          mode: 0o600,
          isSecret: true as const,
          ...owner,
        })),
        { path: definition, content: this.#propertyList(spec), mode: 0o644 },
      ],
      steps: [
        // One that is there already is replaced; where there is none, that fails.
        { command: ["launchctl", "bootout", target], otherwise: "" },
        { command: ["launchctl", "enable", target] },
        { command: ["launchctl", "bootstrap", domain, definition] },
      ],
    };
  }

  variables(): Record<string, string> {
    return {};
  }

  definition(id: ServiceId): string {
    const folder =
      id.scope === "system" ? "/Library/LaunchDaemons" : `${this.#machine.home}/Library/LaunchAgents`;
    return `${folder}/${this.unitName(id)}.plist`;
  }

  isOurs(id: ServiceId): boolean {
    return this.#machine.read(this.definition(id))?.includes(WRITTEN_BY) === true;
  }

  removal(id: ServiceId): Removal {
    const { scope, kind } = id;
    const configDir = this.#configDir(scope);
    const own = `${this.unitName(id)}.`;
    const secrets = this.#machine.list(configDir).filter((name) => name.startsWith(own));
    const plist = this.#machine.read(this.definition(id)) ?? "";
    const ownDir = /^\s*<string>--data-dir=(.+)<\/string>$/m.exec(plist)?.[1];
    return {
      before: [["launchctl", "bootout", `${this.#domain(scope)}/${this.unitName(id)}`]],
      files: [this.definition(id), ...secrets.map((name) => `${configDir}/${name}`), this.#logFile(id)],
      after: [],
      emptied: [configDir, this.#logDir(scope)],
      data:
        kind === "serve"
          ? [plainText(ownDir ?? "") || `${this.#ownerHome()}/Library/Application Support/modelrelay`]
          : [],
    };
  }

  installed(scope: Scope): Promise<ServiceId[]> {
    const folder = this.definition({ kind: "serve", name: undefined, scope }).replace(/\/[^/]*$/, "");
    const ids = this.#machine.list(folder).flatMap((file): ServiceId[] => {
      const match = LABEL.exec(file);
      if (match === null) return [];
      return [{ kind: match[1] === "serve" ? "serve" : "worker", name: match[2], scope }];
    });
    return Promise.resolve(ids);
  }

  async state(id: ServiceId): Promise<ServiceState> {
    const target = `${this.#domain(id.scope)}/${this.unitName(id)}`;
    const { code, stdout } = await this.#machine.run(["launchctl", "print", target]);
    const of = (name: string): string | undefined =>
      new RegExp(String.raw`^\s*${name} = (.+)$`, "m").exec(stdout)?.[1]?.trim();
    const pid = Number(of("pid"));
    const exit = Number(of("last exit code") ?? 0);
    return {
      state: code === 0 ? runState(of("state"), exit) : "stopped",
      pid: pid > 0 ? pid : undefined,
      since: undefined,
      restarts: Math.max(0, Number(of("runs") ?? 1) - 1),
      status: pid > 0 || exit === 0 ? "" : `ended with exit code ${exit}`,
      enabled: code === 0,
      changed: false,
      start: undefined,
    };
  }

  restart(id: ServiceId): string[][] {
    return [["launchctl", "kickstart", "-k", `${this.#domain(id.scope)}/${this.unitName(id)}`]];
  }

  logCommand(id: ServiceId, { lines, follow = false }: LogLines): string[] {
    return ["tail", "-n", String(lines), ...(follow ? ["-F"] : []), this.#logFile(id)];
  }

  #propertyList(spec: ServiceSpec): string {
    const { scope, kind, name, executable, args, secrets } = spec;
    const words = [
      executable,
      kind,
      ...(name === undefined || isNamed(args) ? [] : [`--worker-name=${name}`]),
      ...args,
      ...secrets.map((secret) => `${secret.fileFlag}=${this.#secretFile(spec, secret.fileFlag)}`),
    ];
    const log = this.#logFile(spec);
    const entries = [
      entry("Label", string(this.unitName(spec))),
      entry("ProgramArguments", `<array>\n${indented(words.map(string).join("\n"))}\n</array>`),
      ...(scope === "system" ? [entry("UserName", string(this.#owner()))] : []),
      entry("RunAtLoad", "<true/>"),
      // One that ended well was asked to.
      entry("KeepAlive", `<dict>\n${indented(entry("SuccessfulExit", "<false/>"))}\n</dict>`),
      entry("ThrottleInterval", "<integer>10</integer>"),
      // Longer than requests get to finish.
      entry("ExitTimeOut", "<integer>60</integer>"),
      // Not slowed down as a task that nobody waits for.
      entry("ProcessType", string("Interactive")),
      // 0077, which has to be written in decimal.
      entry("Umask", "<integer>63</integer>"),
      ...["SoftResourceLimits", "HardResourceLimits"].map((limits) =>
        entry(limits, `<dict>\n${indented(entry("NumberOfFiles", "<integer>65536</integer>"))}\n</dict>`),
      ),
      entry("WorkingDirectory", string("/")),
      entry("StandardOutPath", string(log)),
      entry("StandardErrorPath", string(log)),
    ];
    return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
${WRITTEN_BY}
<plist version="1.0">
<dict>
${indented(entries.join("\n"))}
</dict>
</plist>
`;
  }

  #domain(scope: Scope): string {
    return scope === "system" ? "system" : `gui/${this.#machine.uid ?? 501}`;
  }

  #configDir(scope: Scope): string {
    return scope === "system"
      ? "/Library/Application Support/modelrelay-service"
      : `${this.#machine.home}/Library/Application Support/modelrelay-service`;
  }

  #logDir(scope: Scope): string {
    return scope === "system" ? "/Library/Logs/modelrelay" : `${this.#machine.home}/Library/Logs/modelrelay`;
  }

  #logFile(id: ServiceId): string {
    return `${this.#logDir(id.scope)}/${this.unitName(id)}.log`;
  }

  #secretFile(id: ServiceId, fileFlag: string): string {
    const what = fileFlag.replace(/^--/, "").replace(/-file$/, "");
    return `${this.#configDir(id.scope)}/${this.unitName(id)}.${what}`;
  }

  /** Who a service of the system runs as. */
  #owner(): string {
    return this.#machine.env["SUDO_USER"] ?? this.#machine.userName;
  }

  #ownerHome(): string {
    const sudoer = this.#machine.env["SUDO_USER"];
    return sudoer === undefined ? this.#machine.home : `/Users/${sudoer}`;
  }
}

function entry(key: string, value: string): string {
  return `${element("key", key)}\n${value}`;
}

function string(text: string): string {
  return `<string>${xmlText(text)}</string>`;
}

function runState(state: string | undefined, exit: number): RunState {
  if (state === "running") return "running";
  if (state === "spawn scheduled") return "restarting";
  return exit === 0 ? "stopped" : "failed";
}
