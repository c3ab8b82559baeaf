import { readFileSync, readlinkSync } from "node:fs";
import { resolve } from "node:path";
import { environmentOf } from "../doctor/environment.ts";
import { readArguments } from "./arguments.ts";
import { settingsOf, type OptionTable, type Setting } from "./options.ts";
import { path } from "./value-kinds.ts";

/** How a program was started that runs now. */
export interface Start {
  /** After the name of the command. */
  args: string[];
  env: Record<string, string>;
}

/**
 * How a process was started, with paths as they lead from here: what is looked at should be what a relay
 * that runs uses, whichever unit or script has started it.
 *
 * @param command name of the command that it runs
 * @returns `undefined` if the system does not tell, or the process runs something else
 */
export function startOf(pid: number, command: string, options: OptionTable): Start | undefined {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1);
    const at = words.indexOf(command);
    if (at < 1) return undefined;
    const folder = readlinkSync(`/proc/${pid}/cwd`);
    const settings = settingsOf(options);
    const env = environmentOf({ root: "/" }, pid);
    if (env === undefined) return undefined;
    return {
      args: [...readArguments(words.slice(at + 1), settings, command)].map(
        ([setting, { text }]) => `--${setting.flag}=${placed(setting, text, folder)}`,
      ),
      env: placedVariables(env, settings, folder),
    };
  } catch {
    // Of another user, or of a version with other flags.
    return undefined;
  }
}

function placedVariables(
  env: Readonly<Record<string, string>>,
  settings: readonly Setting[],
  folder: string,
): Record<string, string> {
  const byName = new Map(settings.map((setting) => [setting.env, setting]));
  return Object.fromEntries(
    Object.entries(env).map(([name, text]) => {
      const setting = byName.get(name);
      return [name, setting === undefined || text === "" ? text : placed(setting, text, folder)];
    }),
  );
}

function placed({ option, isFileOfSecret }: Setting, text: string, folder: string): string {
  return isFileOfSecret || option.schema === path ? resolve(folder, text) : text;
}
