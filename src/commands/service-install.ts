import { existsSync, realpathSync, statSync } from "node:fs";
import { isCompiled } from "../base/build-info.ts";
import { Problem, UsageError } from "../base/errors.ts";
import {
  install,
  serviceTitle,
  supervisorOf,
  usualSupervisor,
  SUPERVISORS,
  UNQUOTABLE,
  type Machine,
  type Plan,
  type Scope,
  type ServiceId,
  type ServiceSpec,
  type Supervisor,
} from "../service/index.ts";
import { commandNode, surroundings, type Command, type RunContext, type Terminal } from "./command.ts";
import { examinedMachine, portsOf } from "./doctor.ts";
import { defineOptions, type Config } from "./options.ts";
import {
  isHidden,
  refuseControls,
  refuseForeignFolder,
  serviceSettings,
  workerNameAmong,
  type ServiceSettings,
} from "./service-settings.ts";
import { machineOf, plainName, requireRights, serviceOptions, waitOption } from "./service-shared.ts";
import { showHints, showReady } from "./service-wait.ts";
import { planText } from "./service-text.ts";
import { oneOf, onOff, path } from "./value-kinds.ts";

const installOptions = defineOptions({
  kind: { ...serviceOptions.kind, defaultText: "none; it has to be said" },
  name: { ...serviceOptions.name, defaultText: "its --worker-name, else the name of this machine" },
  user: serviceOptions.user,
  print: {
    kind: "switch",
    default: "false",
    inFile: false,
    help: "Show what would be written and run, and change nothing",
    schema: onOff,
  },
  manager: {
    inFile: false,
    hint: "NAME",
    help: "With --print: whose files to show, systemd, launchd or windows",
    defaultText: "that of this machine",
    schema: oneOf(SUPERVISORS),
  },
  executable: {
    inFile: false,
    hint: "FILE",
    help: "Program that the service runs",
    defaultText: "this one",
    schema: path,
  },
  replace: {
    kind: "switch",
    default: "false",
    inFile: false,
    help: "Write anew what an earlier installation wrote, and restart the service",
    schema: onOff,
  },
  waitMs: waitOption,
});

type InstallConfig = Config<typeof installOptions>;

/** The program that the service is to run. @throws {UsageError} if it would not find that */
function executableOf({ executable, print }: InstallConfig, scope: Scope): string {
  if (executable === undefined && !isCompiled) {
    if (print) return "/usr/local/bin/modelrelay";
    throw new UsageError("Cannot install a service of a program that runs from its sources", {
      action: "Build it (bun run build), and name it with --executable FILE",
    });
  }
  const file = executable ?? process.execPath;
  refuseControls(file, "the program");
  if (print) return file;
  if (!existsSync(file)) throw new UsageError(`Cannot run "${file}" as a service: there is no such file`);
  const real = realpathSync(file);
  if (isHidden(real, scope) && process.platform === "linux") {
    throw new UsageError(`Cannot run "${real}" as a service of the system: it sees nothing there`, {
      action: "Copy it to /usr/local/bin and start that one, or add --user",
    });
  }
  return file;
}

function isFolder(place: string): boolean {
  return statSync(place, { throwIfNoEntry: false })?.isDirectory() === true;
}

function specOf(config: InstallConfig, settings: ServiceSettings, id: ServiceId): ServiceSpec {
  const { args, secrets, dataDir } = settings;
  return { ...id, executable: executableOf(config, id.scope), args, secrets, dataDir };
}

function refuseUnquotable({ executable, args }: ServiceSpec): void {
  const wrong = [executable, ...args].find((word) => UNQUOTABLE.test(word));
  if (wrong === undefined) return;
  throw new UsageError(
    `Cannot give ${JSON.stringify(wrong)} to a task of Windows: a quote or % in it would be lost`,
    {
      action: "Put the setting into a file, and name that with --config",
    },
  );
}

/** @throws {Problem} naming the port that something else has */
async function requirePorts({ serve }: ServiceSettings, terminal: Terminal): Promise<void> {
  if (serve === undefined) return;
  const { checkPort } = await import("../doctor/ports.ts");
  for (const wanted of portsOf(serve.config, serve.origins)) {
    const { ok, target, details, action } = await checkPort(examinedMachine(terminal), wanted, undefined);
    if (ok !== false) continue;
    throw new Problem(
      `Cannot have the service listen on ${target}: ${details}`,
      action === undefined ? {} : { action },
    );
  }
}

/** @throws {Problem} if there is one already */
function refuseSecond(supervisor: Supervisor, machine: Machine, id: ServiceId): void {
  const definition = supervisor.definition(id);
  if (!machine.exists(definition)) return;
  const whose = supervisor.isOurs(id) ? "" : ", and was not written by modelrelay service install";
  throw new Problem(`Cannot install ${supervisor.unitName(id)}: ${definition} is there already${whose}`, {
    action: `Add --replace to write it anew${id.kind === "worker" ? ", or give a second worker another NAME" : ""}`,
  });
}

async function runInstall(
  config: InstallConfig,
  { terminal, args }: RunContext<typeof installOptions>,
): Promise<number> {
  const { kind, print } = config;
  if (kind === undefined) {
    throw new UsageError("Cannot install a service: it is not said which", {
      action: "Write modelrelay service install serve, or modelrelay service install worker",
    });
  }
  if (kind === "serve" && config.name !== undefined) {
    throw new UsageError(`Cannot use the name "${config.name}": a machine has one relay as a service`, {
      action: "Leave the name away",
    });
  }
  if (config.manager !== undefined && !print) {
    throw new UsageError(
      "Cannot use --manager without --print: a service is what this machine's own manager runs",
    );
  }
  const scope: Scope = config.user ? "user" : "system";
  const machine = machineOf(terminal);
  const manager = config.manager ?? usualSupervisor(machine.platform);
  const supervisor = await supervisorOf(manager, machine);
  if (!print) await requireRights(supervisor, scope, "install a service");

  const around = surroundings(terminal.env);
  const end = args.indexOf("--");
  const rest = end < 0 ? [] : args.slice(end + 1);
  const named = config.name ?? plainName(workerNameAmong(kind, rest) ?? around.hostname);
  const id: ServiceId = { kind, name: kind === "worker" ? named : undefined, scope };
  const settings = serviceSettings(kind, rest, { scope, around, known: supervisor.variables(id) });
  const spec = specOf(config, settings, id);
  if (manager === "windows") refuseUnquotable(spec);
  const plan: Plan = supervisor.plan(spec);
  if (print) {
    await terminal.out(planText(plan));
    return 0;
  }

  if (scope === "system" && settings.dataDir !== undefined && isFolder(settings.dataDir))
    refuseForeignFolder(settings.dataDir, machine.list(settings.dataDir));
  if (!config.replace) refuseSecond(supervisor, machine, id);
  const { pid: before } = await supervisor.state(id);
  // The ports of one that runs are its own.
  if (before === undefined) await requirePorts(settings, terminal);
  for (const note of settings.notes) terminal.err(`${note}\n`);
  await install(plan, machine, (line) => terminal.err(`${line}\n`));
  if (config.waitMs > 0) {
    const ready = { machine, supervisor, terminal, timeoutMs: config.waitMs };
    const state = await showReady(id, ready);
    if (kind === "serve") await showHints(id, state, ready);
  }
  terminal.err(
    `See how it is: modelrelay service status; undo: modelrelay service uninstall ${serviceTitle(id)}\n`,
  );
  return 0;
}

export const installCommand: Command<typeof installOptions> = {
  name: "service install",
  summary:
    "Has the machine keep serve or worker running: writes the service, starts it, and waits until it serves",
  rest: "flags of serve or worker",
  examples: [
    {
      line: "sudo modelrelay service install serve -- --tls --domain relay.example.com",
      does: "A relay that starts with the machine, as a user of its own",
    },
    {
      line: "sudo modelrelay service install worker -- --proxy-url https://relay.example.com --worker-secret-file secret",
      does: "A worker; the secret is copied to a file that only the superuser reads",
    },
    {
      line: "modelrelay service install worker --user --print -- --worker-secret-file secret",
      does: "Show what would be written for a service of this user",
    },
  ],
  options: installOptions,
  readsEnvironment: false,
  run: runInstall,
};

export const installNode = commandNode(installCommand);
