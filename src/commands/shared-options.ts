import { LOG_FORMATS, LOG_LEVELS } from "../base/log.ts";
import { defaultDataDir, relayDataDir } from "./data-dir.ts";
import type { OptionSpec } from "./options.ts";
import { oneOf, onOff, path } from "./value-kinds.ts";

// Settings that several commands have under one name, so that they read the same everywhere.

export const logLevelOption = {
  env: "LOG_LEVEL",
  default: "info",
  hint: "LEVEL",
  help: "Least serious lines that are written to stderr",
  schema: oneOf(LOG_LEVELS),
} as const satisfies OptionSpec;

export const logFormatOption = {
  env: "LOG_FORMAT",
  default: "pretty",
  hint: "FORMAT",
  help: "How those lines are written: pretty for people, json for programs",
  schema: oneOf(LOG_FORMATS),
} as const satisfies OptionSpec;

export const dataDirOption = {
  env: "MODELRELAY_DATA_DIR",
  default: defaultDataDir,
  defaultText: "the platform's place; /var/lib/modelrelay under systemd",
  hint: "DIR",
  help: "Directory for all that the relay keeps",
  schema: path,
} as const satisfies OptionSpec;

/** For commands that look after a relay. */
export const relayDataDirOption = {
  ...dataDirOption,
  // As a function of its own, since it takes a second argument.
  default: (around) => relayDataDir(around),
  defaultText: "the platform's place, or /var/lib/modelrelay where the service's relay is",
  help: "The relay's data directory",
} as const satisfies OptionSpec;

export const jsonOption = {
  kind: "switch",
  default: "false",
  inFile: false,
  help: "Print JSON",
  schema: onOff,
} as const satisfies OptionSpec;

/** @param table of the file that the command reads */
export function configOption(table: string) {
  return {
    env: "MODELRELAY_CONFIG",
    inFile: false,
    hint: "FILE",
    help: `TOML file with the settings under [${table}]`,
    schema: path,
  } as const satisfies OptionSpec;
}
