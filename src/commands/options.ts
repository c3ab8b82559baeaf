import type * as z from "zod";

/** What the program stands in, as far as a default may depend on it. */
export interface Surroundings {
  env: Readonly<Record<string, string | undefined>>;
  platform: NodeJS.Platform;
  /** Home directory of the user, absolute. */
  home: string;
  hostname: string;
  /** Whether the process runs as the superuser. */
  root: boolean;
}

/**
 * One setting of a command. The flag, the environment variable, the key in the config file, the help,
 * the reference page and what is kept out of messages all come from this one entry.
 */
export interface OptionSpec<V = unknown> {
  /** One line for the help, without a final period. */
  help: string;
  /** Reads the text as an operator writes it; its `description` finishes the sentence "expected …". */
  schema: z.ZodType<V, string>;
  /** Long flag without dashes; the key in kebab-case if absent. */
  flag?: string;
  /** Environment variable; if absent, the setting is not read from the environment. */
  env?: string;
  /** What stands for the value in the help, such as `HOST:PORT`. */
  hint?: string;
  /** As an operator would write it. Without one the setting may be `undefined`. */
  default?: string | ((around: Surroundings) => string);
  /** The default in words, for one that is computed or that is absent. */
  defaultText?: string;
  /** `switch`: the flag needs no value and has a `--no-` form. `list`: the flag may be repeated. */
  kind?: "switch" | "list";
  /** The value can also stand alone, without its flag; several such in the table's order. */
  operand?: true;
  /** Never shown; can also come from a file, by `--NAME-file` or `NAME_FILE`. */
  secret?: true;
  /** Can change while the program runs, by SIGHUP. */
  reload?: true;
  /** `false`: not a key of the config file. */
  inFile?: false;
}

export type OptionTable = Record<string, OptionSpec>;

/** The values of a table, as the program uses them. */
export type Config<T extends OptionTable> = {
  [K in keyof T]: T[K] extends { default: unknown }
    ? z.output<T[K]["schema"]>
    : z.output<T[K]["schema"]> | undefined;
};

/** Gives a table its exact type, so that `Config` can tell what is always set. */
export function defineOptions<const T extends OptionTable>(table: T): T {
  return table;
}

/** One name that a value can be given under. A secret has two: itself, and the file that holds it. */
export interface Setting {
  /** Key in the table and in the `Config`. */
  key: string;
  /** Long flag without dashes; in the config file the key is the same. */
  flag: string;
  env: string | undefined;
  option: OptionSpec;
  /** The value is the path of a file whose content is the secret. */
  isFileOfSecret: boolean;
}

export function kebabCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).replaceAll("_", "-");
}

/** Every name of a table, in its order; the file form of a secret directly after the secret. */
export function settingsOf(table: OptionTable): Setting[] {
  return Object.entries(table).flatMap(([key, option]) => {
    const setting: Setting = {
      key,
      flag: option.flag ?? kebabCase(key),
      env: option.env,
      option,
      isFileOfSecret: false,
    };
    if (option.secret !== true) return [setting];
    const env = option.env === undefined ? undefined : `${option.env}_FILE`;
    return [setting, { ...setting, flag: `${setting.flag}-file`, env, isFileOfSecret: true }];
  });
}

/** A value as it was given, before it is read. */
export interface Given {
  text: string;
  /** Where it came from, in words that finish "(…)": `flag --listen`, `environment variable LISTEN_ADDR`. */
  origin: string;
  /** The file that held it, for a secret that was given by one. */
  file?: string;
}
