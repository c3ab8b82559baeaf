import { messageOf, Problem } from "../base/errors.ts";
import type { Outcome } from "../base/check-result.ts";
import { oneLine } from "../base/one-line.ts";
import type { Command } from "./command.ts";
import { settingsOf, type OptionTable, type Surroundings } from "./options.ts";
import { readConfig, type Reading } from "./read-config.ts";

/** A command, as far as its settings go. */
export type End<T extends OptionTable> = Pick<Command<T>, "name" | "options" | "check">;

export interface EndSettings<T extends OptionTable> {
  /** As the command would take them, without what is wrong among them. */
  reading: Reading<T>;
  /** A mistake each, or one that says where they come from. */
  outcomes: readonly Outcome[];
}

/**
 * Reads a command's settings as that command does, and goes on without those that are wrong: a variable
 * alone, the config file as a whole.
 *
 * @param args flags of the command
 * @param how words that begin the sentence on where the settings come from
 */
export function readEnd<T extends OptionTable>(
  end: End<T>,
  args: readonly string[],
  around: Surroundings,
  how = "",
): EndSettings<T> {
  const { name, options } = end;
  const mistakes: unknown[] = [];
  const env = withoutWrong(end, around, mistakes);
  const bare = args.filter((arg) => !arg.startsWith("--config="));
  const attempts = [
    { args, env },
    { args: bare, env: { ...env, MODELRELAY_CONFIG: undefined } },
    { args: bare, env: {} },
    { args: [], env: {} },
  ];
  for (const attempt of attempts) {
    let reading: Reading<T>;
    try {
      reading = readConfig(name, options, { args: attempt.args, around: { ...around, env: attempt.env } });
    } catch (error) {
      mistakes.push(error);
      continue;
    }
    try {
      end.check?.(reading);
    } catch (error) {
      mistakes.push(error);
    }
    const outcomes = mistakes.map((mistake) => wrong(name, mistake));
    return { reading, outcomes: outcomes.length > 0 ? outcomes : [told(name, reading, how)] };
  }
  throw mistakes[0];
}

/** The environment less the variables that cannot be read, each of which is a mistake of its own. */
function withoutWrong<T extends OptionTable>(
  { name, options }: End<T>,
  around: Surroundings,
  mistakes: unknown[],
): Surroundings["env"] {
  const env = { ...around.env };
  for (const { env: variable, key } of settingsOf(options)) {
    if (variable === undefined || key === "config" || !env[variable]) continue;
    try {
      readConfig(name, options, { args: [], around: { ...around, env: { [variable]: env[variable] } } });
    } catch (error) {
      mistakes.push(error);
      delete env[variable];
    }
  }
  return env;
}

function wrong(name: string, error: unknown): Outcome {
  const action = error instanceof Problem ? error.action : undefined;
  return {
    target: name,
    ok: false,
    details: oneLine(messageOf(error), 600),
    action: action ?? `See what it takes with: modelrelay help ${name}`,
  };
}

function told<T extends OptionTable>(name: string, { origins }: Reading<T>, how: string): Outcome {
  const all = Object.values<string>(origins);
  const flags = all.filter((origin) => origin.includes("flag --")).length;
  const variables = all.filter((origin) => origin.includes("environment variable ")).length;
  const [, file] = /"([^"]+)" key \[/.exec(all.find((origin) => origin.includes(" key [")) ?? "") ?? [];
  const keys = all.filter((origin) => origin.includes(" key [")).length;
  const parts = [
    ...(flags === 0 ? [] : [`${flags} by flags`]),
    ...(variables === 0 ? [] : [`${variables} by variables`]),
    ...(keys === 0 ? [] : [`${keys} in ${file}`]),
  ];
  return {
    target: name,
    ok: true,
    details: `${how}${parts.length === 0 ? "all by default" : `${parts.join(", ")}, the rest by default`}`,
  };
}

/** Whether somebody set one of these. */
export function isSet<T extends OptionTable>({ origins }: Reading<T>, keys: readonly (keyof T)[]): boolean {
  return keys.some((key) => origins[key] !== "default");
}

/** The config file, if a secret stands in it. */
export function fileWithSecrets<T extends OptionTable>(
  options: T,
  { origins }: Reading<T>,
): { path: string; what: string }[] {
  const secrets = settingsOf(options).filter(
    ({ option, isFileOfSecret }) => option.secret === true && !isFileOfSecret,
  );
  const origin = secrets.map(({ key }) => origins[key] ?? "").find((text) => /^"[^"]+" key \[/.test(text));
  const [, path] = /^"([^"]+)"/.exec(origin ?? "") ?? [];
  return path === undefined ? [] : [{ path, what: "config file with a secret in it" }];
}
