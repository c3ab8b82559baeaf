import { Problem, UsageError } from "../base/errors.ts";
import { readArguments } from "./arguments.ts";
import { readConfigFile, readText } from "./config-file.ts";
import {
  settingsOf,
  type Config,
  type Given,
  type OptionTable,
  type Setting,
  type Surroundings,
} from "./options.ts";
import { shown } from "./wording.ts";

/** Everything that settings are read from, besides the config file that these may name. */
export interface Sources {
  /** What follows the name of the command. */
  args: readonly string[];
  around: Surroundings;
  /** Another command's table of the config file, of which only the settings that the command has are read. */
  file?: string;
}

export interface Reading<T extends OptionTable> {
  config: Config<T>;
  /** For each key where its value came from, in words that finish "(…)": `flag --listen`, `default`. */
  origins: { [K in keyof T]: string };
  /** Files that secrets came from, with what each is for. */
  secretFiles: { path: string; what: string }[];
}

/** What a second reading found to be different. */
export interface Change<T extends OptionTable> {
  /** Settings that can change while the program runs, with their new values. */
  changed: Partial<Config<T>>;
  /** Names of the settings that differ as well, and take effect at the next start. */
  needsRestart: string[];
}

function readEnvironment(settings: readonly Setting[], env: Surroundings["env"]): Map<Setting, Given> {
  const given = new Map<Setting, Given>();
  for (const setting of settings) {
    const text = setting.env === undefined ? undefined : env[setting.env];
    // Compose files and units often pass a variable on that is empty because nobody set it.
    if (text) given.set(setting, { text, origin: `environment variable ${setting.env}` });
  }
  return given;
}

function readSecretFile({ text: path, origin }: Given, setting: Setting): Given {
  const content = readText(path, `file of ${setting.flag.replace(/-file$/, "")}`, origin).replace(
    /\r?\n$/,
    "",
  );
  if (content === "") throw new UsageError(`Cannot use the file "${path}" (${origin}): it is empty`);
  return { text: content, origin: `"${path}", ${origin}`, file: path };
}

/** The given value of one option from one source, whether written there or in a file that it names. */
function pick(source: Map<Setting, Given>, forms: readonly Setting[]): Given | undefined {
  const found = forms.flatMap((setting) => {
    const given = source.get(setting);
    return given === undefined ? [] : [{ setting, given }];
  });
  const [first, second] = found;
  if (first !== undefined && second !== undefined) {
    throw new UsageError(
      `Cannot use ${first.given.origin} and ${second.given.origin} together: each gives ${first.setting.flag}`,
      { action: "Keep one of them" },
    );
  }
  if (first === undefined) return undefined;
  return first.setting.isFileOfSecret ? readSecretFile(first.given, first.setting) : first.given;
}

/** @throws {UsageError} of a kind of value that knows better what is wrong than what it expects */
function parse(
  { schema }: Setting["option"],
  text: string,
  origin: string,
): ReturnType<typeof schema.safeParse> {
  try {
    return schema.safeParse(text);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    const { message, action } = error;
    throw new UsageError(`${message} (${origin})`, action === undefined ? {} : { action });
  }
}

function readValue({ option, flag }: Setting, { text, origin }: Given): unknown {
  const result = parse(option, text, origin);
  if (result.success) return result.data;
  const value = option.secret === true ? "the value" : shown(text);
  throw new UsageError(
    `Cannot use ${value} as ${flag} (${origin}): expected ${option.schema.description ?? "another value"}`,
  );
}

/**
 * Reads every setting of a command: a flag wins over the environment, that over the config file, that
 * over the default. A secret and the file that holds it are one setting; both in one source are refused.
 *
 * @param command name, which is also the name of its table in the config file
 * @throws {UsageError} naming the first mistake and where it is
 */
export function readConfig<T extends OptionTable>(
  command: string,
  table: T,
  { args, around, file }: Sources,
): Reading<T> {
  const settings = settingsOf(table);
  const sources = [readArguments(args, settings, command), readEnvironment(settings, around.env)];
  const configFile = settings.find(({ key }) => key === "config");
  const path =
    configFile && sources.map((source) => source.get(configFile)).find((given) => given !== undefined);
  if (path !== undefined)
    sources.push(
      readConfigFile(path.text, path.origin, settings, {
        name: file ?? command,
        isShared: file !== undefined,
      }),
    );

  const config: Record<string, unknown> = {};
  const origins: Record<string, string> = {};
  const secretFiles: Reading<T>["secretFiles"] = [];
  for (const main of settings.filter((setting) => !setting.isFileOfSecret)) {
    const forms = settings.filter((setting) => setting.key === main.key);
    // Every source is looked at, so that two forms in one of them are refused even if a flag wins.
    const given = sources.map((source) => pick(source, forms)).find((candidate) => candidate !== undefined);
    const preset = main.option.default;
    const text = typeof preset === "function" ? preset(around) : preset;
    const used = given ?? (text === undefined ? undefined : { text, origin: "default" });
    config[main.key] = used === undefined ? undefined : readValue(main, used);
    origins[main.key] = used?.origin ?? "default";
    if (given?.file !== undefined) secretFiles.push({ path: given.file, what: main.flag });
  }
  return { config: config as Config<T>, origins: origins as Reading<T>["origins"], secretFiles };
}

/**
 * Compares a new reading with what is in use.
 *
 * @returns names without dashes in `needsRestart`; the caller goes on using the old values of those
 */
export function compareConfig<T extends OptionTable>(
  table: T,
  current: Config<T>,
  next: Config<T>,
): Change<T> {
  const changed: Partial<Config<T>> = {};
  const needsRestart: string[] = [];
  for (const { key, flag, option, isFileOfSecret } of settingsOf(table)) {
    const name: keyof T = key;
    if (isFileOfSecret || Bun.deepEquals(current[name], next[name])) continue;
    if (option.reload === true) changed[name] = next[name];
    else needsRestart.push(flag);
  }
  return { changed, needsRestart };
}
