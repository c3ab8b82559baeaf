import { runCommand, type CommandDef } from "citty";
import { commit, platform, version } from "../base/build-info.ts";
import { UsageError } from "../base/errors.ts";
import type { Terminal } from "./command.ts";
import { reportFailure } from "./failure.ts";
import { shown, shownName, unknownName } from "./wording.ts";

interface CommandModule {
  default: CommandDef;
}

/** Each command is loaded when it is asked for: `--version` must not wait for a relay to load. */
const COMMANDS: Readonly<Record<string, () => Promise<CommandModule>>> = {
  serve: () => import("./serve.ts"),
  worker: () => import("./worker.ts"),
  demo: () => import("./demo.ts"),
  status: () => import("./status.ts"),
  doctor: () => import("./doctor.ts"),
  usage: () => import("./usage.ts"),
  update: () => import("./update.ts"),
  completions: () => import("./completions.ts"),
};

/** Commands of several words, by all but the last of them. */
const GROUP_COMMANDS: Readonly<Record<string, typeof COMMANDS>> = {
  tls: {
    issue: async () => ({ default: (await import("./tls-issue.ts")).issueNode }),
    renew: async () => ({ default: (await import("./tls-issue.ts")).renewNode }),
    status: async () => ({ default: (await import("./tls-status.ts")).statusNode }),
    check: async () => ({ default: (await import("./tls-check.ts")).checkNode }),
    import: async () => ({ default: (await import("./tls-import.ts")).importNode }),
    revoke: async () => ({ default: (await import("./tls-revoke.ts")).revokeNode }),
    nginx: async () => ({ default: (await import("./tls-proxy.ts")).nginxNode }),
    caddy: async () => ({ default: (await import("./tls-proxy.ts")).caddyNode }),
    haproxy: async () => ({ default: (await import("./tls-proxy.ts")).haproxyNode }),
  },
  keys: {
    create: async () => ({ default: (await import("./keys-create.ts")).createNode }),
    list: async () => ({ default: (await import("./keys-list.ts")).listNode }),
    show: async () => ({ default: (await import("./keys-list.ts")).showNode }),
    update: async () => ({ default: (await import("./keys-update.ts")).updateNode }),
    revoke: async () => ({ default: (await import("./keys-revoke.ts")).revokeKeyNode }),
  },
  workers: {},
  "workers secret": {
    create: async () => ({ default: (await import("./workers-secret.ts")).createSecretNode }),
    list: async () => ({ default: (await import("./workers-secret.ts")).listSecretsNode }),
    revoke: async () => ({ default: (await import("./workers-secret.ts")).revokeSecretNode }),
  },
  service: {
    install: async () => ({ default: (await import("./service-install.ts")).installNode }),
    status: async () => ({ default: (await import("./service-status.ts")).statusNode }),
    logs: async () => ({ default: (await import("./service-logs.ts")).logsNode }),
    restart: async () => ({ default: (await import("./service-restart.ts")).restartNode }),
    uninstall: async () => ({ default: (await import("./service-uninstall.ts")).uninstallNode }),
  },
  db: {
    backup: async () => ({ default: (await import("./db-backup.ts")).backupNode }),
    check: async () => ({ default: (await import("./db-check.ts")).checkNode }),
  },
};

const LISTING = "modelrelay --help";

function refuseRest(rest: readonly string[], after: string): void {
  if (rest[0] === undefined) return;
  throw new UsageError(`Cannot use ${shown(rest[0])}: nothing may follow "modelrelay ${after}"`, {
    action: `See all with: ${LISTING}`,
  });
}

function commandNamed(name: string): () => Promise<CommandModule> {
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (load !== undefined) return load;
  throw unknownName(
    `Cannot run ${shown(name)}: modelrelay has no such command`,
    name,
    [...Object.keys(COMMANDS), ...Object.keys(GROUP_COMMANDS), "help", "--version"],
    LISTING,
  );
}

/** Names of the commands and groups that stand directly in a group. */
function membersOf(group: string): string[] {
  const groups = Object.keys(GROUP_COMMANDS).filter((name) => name.startsWith(`${group} `));
  return [...Object.keys(GROUP_COMMANDS[group] ?? {}), ...groups.map((name) => name.slice(group.length + 1))];
}

async function runGroup(group: string, args: readonly string[], terminal: Terminal): Promise<number> {
  const commands = GROUP_COMMANDS[group] ?? {};
  const [name, ...rest] = args;
  if (name === undefined || name === "--help" || name === "-h") {
    const { groupHelp } = await import("./help.ts");
    const { ALL_COMMANDS, GROUPS } = await import("./all-commands.ts");
    const members = ALL_COMMANDS.filter((command) => command.name.startsWith(`${group} `));
    await terminal.out(groupHelp(group, GROUPS[group] ?? GROUPS[group.split(" ")[0] ?? ""] ?? "", members));
    return 0;
  }
  if (Object.hasOwn(GROUP_COMMANDS, `${group} ${name}`)) return runGroup(`${group} ${name}`, rest, terminal);
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (load === undefined) {
    throw unknownName(
      `Cannot run ${shown(`${group} ${name}`)}: modelrelay ${group} has no such command`,
      name,
      membersOf(group),
      `modelrelay help ${group}`,
    );
  }
  const { result } = await runCommand((await load()).default, { rawArgs: rest, data: terminal });
  return result as number;
}

async function runNamed(name: string, rawArgs: string[], terminal: Terminal): Promise<number> {
  if (Object.hasOwn(GROUP_COMMANDS, name)) return runGroup(name, rawArgs, terminal);
  const { default: node } = await commandNamed(name)();
  const { result } = await runCommand(node, { rawArgs, data: terminal });
  return result as number;
}

async function showRootHelp(terminal: Terminal): Promise<number> {
  const { rootHelp } = await import("./help.ts");
  const { ALL_COMMANDS, GROUPS } = await import("./all-commands.ts");
  await terminal.out(rootHelp(version, ALL_COMMANDS, GROUPS));
  return 0;
}

async function dispatch(args: readonly string[], terminal: Terminal): Promise<number> {
  const [first, ...rest] = args;
  switch (first) {
    case undefined:
    case "--help":
    case "-h":
      refuseRest(rest, first ?? "");
      return showRootHelp(terminal);
    case "--version":
    case "-v":
    case "-V":
      refuseRest(rest, first);
      await terminal.out(`modelrelay ${version} (${commit}, ${platform})\n`);
      return 0;
    case "help": {
      const [name, ...more] = rest;
      if (name === undefined || name.startsWith("-")) return showRootHelp(terminal);
      const inGroup: string[] = [];
      while (more[0] !== undefined && Object.hasOwn(GROUP_COMMANDS, [name, ...inGroup].join(" ")))
        inGroup.push(...more.splice(0, 1));
      refuseRest(more, ["help", name, ...inGroup].join(" "));
      return runNamed(name, [...inGroup, "--help"], terminal);
    }
  }
  if (first.startsWith("-")) {
    const flag = first.split("=")[0] ?? first;
    const problem = `Cannot use flag ${shownName(flag)} here: the command comes first, as in modelrelay serve ${shownName(flag)}`;
    throw unknownName(problem, flag, ["--help", "--version"], LISTING);
  }
  return runNamed(first, rest, terminal);
}

/**
 * Runs the program.
 *
 * @param args without the executable and the script
 * @returns the exit code; every failure has been told by then
 */
export async function main(args: readonly string[], terminal: Terminal): Promise<number> {
  try {
    return await dispatch(args, terminal);
  } catch (thrown) {
    const withStack = /^(debug|trace)$/i.test(terminal.env["LOG_LEVEL"] ?? "");
    return reportFailure(thrown, terminal.err, withStack);
  }
}
