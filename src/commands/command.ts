import { homedir, hostname } from "node:os";
import { defineCommand, type CommandDef } from "citty";
import { wantsHelp } from "./arguments.ts";
import { commandHelp, type CommandText } from "./help.ts";
import type { Config, OptionTable, Surroundings } from "./options.ts";
import { compareConfig, readConfig, type Change, type Reading } from "./read-config.ts";

/** What a command needs of the process; tests hand in their own. */
export interface Terminal {
  env: Readonly<Record<string, string | undefined>>;
  /** To stdout: what the user asked for. */
  out: (text: string) => Promise<void>;
  /** To stderr: everything else. */
  err: (text: string) => void;
}

export interface Command<T extends OptionTable> extends CommandText {
  options: T;
  /** `false`: settings come from flags alone, for a command that looks at the environment and the file itself. */
  readsEnvironment?: false;
  /** @throws {UsageError} if values that are each valid do not go together */
  check?(reading: Reading<T>): void;
  /** @returns the exit code */
  run(config: Config<T>, context: RunContext<T>): Promise<number>;
}

export interface RunContext<T extends OptionTable> {
  terminal: Terminal;
  /** Where each setting comes from, in words; `default` where nobody set it. */
  origins: Reading<T>["origins"];
  /** What follows the name of the command. */
  args: readonly string[];
  /**
   * Reads everything again, for SIGHUP. Each difference is reported once as `changed`, and each time
   * as `needsRestart` until the restart.
   *
   * @throws {UsageError} if what is there now is wrong; the values in use then stay
   */
  reread: () => Change<T>;
}

/** A command of any table, for help and the reference page. */
export interface CommandFacts extends CommandText {
  options: OptionTable;
}

export function surroundings(env: Terminal["env"]): Surroundings {
  return {
    env,
    platform: process.platform,
    home: homeOfUser(),
    hostname: hostname(),
    root: process.getuid?.() === 0,
  };
}

/** A user that the machine has no entry for, as in a container or under systemd's DynamicUser=, has no home. */
export function homeOfUser(): string {
  try {
    return homedir();
  } catch {
    return "/";
  }
}

/** The command as a node of the tree: answers `--help`, reads the settings strictly, and runs. */
export function commandNode<T extends OptionTable>(command: Command<T>): CommandDef {
  return defineCommand({
    meta: { name: command.name, description: command.summary },
    // citty's own parser lets mistakes pass, so it is given no arguments to look for.
    async run({ rawArgs, data }): Promise<number> {
      const terminal = data as Terminal;
      if (wantsHelp(rawArgs)) {
        await terminal.out(commandHelp(command, command.options));
        return 0;
      }
      const around = surroundings(command.readsEnvironment === false ? {} : terminal.env);
      const end = command.rest === undefined ? -1 : rawArgs.indexOf("--");
      const args = end < 0 ? rawArgs : rawArgs.slice(0, end);
      const read = (): Reading<T> => {
        const sources = { args, around, ...(command.file !== undefined && { file: command.file }) };
        const reading = readConfig(command.name, command.options, sources);
        command.check?.(reading);
        return reading;
      };
      const { config, origins } = read();
      let current = config;
      const reread = (): Change<T> => {
        const change = compareConfig(command.options, current, read().config);
        current = { ...current, ...change.changed };
        return change;
      };
      return command.run(current, { terminal, origins, args: rawArgs, reread });
    },
  });
}
