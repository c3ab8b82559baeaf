import { isAbsolute, join } from "node:path";
import { UsageError } from "../base/errors.ts";
import type { Scope, ServiceKind, ServiceSecret } from "../service/index.ts";
import { readArguments } from "./arguments.ts";
import { readText } from "./config-file.ts";
import { settingsOf, type OptionTable, type Setting, type Surroundings } from "./options.ts";
import { readConfig, type Reading } from "./read-config.ts";
import { checkServe, serveOptions } from "./serve-options.ts";
import { path } from "./value-kinds.ts";
import { workerOptions } from "./worker-options.ts";
import { shown } from "./wording.ts";

/** What a service is started with, from the flags that it was given. */
export interface ServiceSettings {
  /** Without secrets. */
  args: string[];
  secrets: ServiceSecret[];
  /** The directory for state that was named, if one was. */
  dataDir: string | undefined;
  /** As a relay would take them. */
  serve: Reading<typeof serveOptions> | undefined;
  /** Lines about what became of the flags. */
  notes: string[];
}

interface Given {
  setting: Setting;
  text: string;
}

/** Places that a service of the system does not see, or where it has a directory of its own. */
const HIDDEN = /^\/(home|root|run\/user|tmp|var\/tmp)(\/|$)/;

export function isHidden(place: string, scope: Scope): boolean {
  return scope === "system" && HIDDEN.test(place);
}

/**
 * Reads the flags that a service shall be started with as `serve` or `worker` will, and takes the secrets
 * from among them.
 *
 * @param known what its environment file says already
 * @throws {UsageError} as that command would, or for what makes no sense in a service
 */
export function serviceSettings(
  kind: ServiceKind,
  rest: readonly string[],
  { scope, around, known }: { scope: Scope; around: Surroundings; known: Readonly<Record<string, string>> },
): ServiceSettings {
  const table: OptionTable = kind === "serve" ? serveOptions : workerOptions;
  const given = [...readArguments(rest, settingsOf(table), kind)].map(([setting, { text }]) => ({
    setting,
    text,
  }));
  const absolute = given.map(({ setting, text }) => ({
    setting,
    text: isPath(setting) ? absolutePath(text) : text,
  }));
  for (const one of absolute) refuseUnfit(one, scope);
  const secrets = absolute.filter(({ setting }) => setting.option.secret === true);
  const others = absolute.filter(({ setting }) => setting.option.secret !== true);
  const taken = secrets.map(secretOf);
  const env = { ...known, ...Object.fromEntries(taken.map(({ variable, value }) => [variable, value])) };
  const args = others.flatMap(wordsOf);
  const sources = { args, around: { ...around, env } };
  const serve = kind === "serve" ? readConfig("serve", serveOptions, sources) : undefined;
  if (serve !== undefined) checkServe(serve);
  else checkWorker(args, sources.around);
  return {
    args,
    secrets: taken,
    dataDir: serve === undefined ? undefined : dataDirOf(serve, scope),
    serve,
    notes: [...copiedNotes(secrets), ...ignoredNotes(table, around.env, given)],
  };
}

/** The name that its flags give a worker. @throws {UsageError} if they are none of a worker */
export function workerNameAmong(kind: ServiceKind, rest: readonly string[]): string | undefined {
  if (kind === "serve") return undefined;
  const given = readArguments(rest, settingsOf(workerOptions), kind);
  return [...given].find(([{ key }]) => key === "workerName")?.[1].text;
}

/** A directory that somebody named, in the flags or in the config file; the usual one is made by itself. */
function dataDirOf({ config, origins }: Reading<typeof serveOptions>, scope: Scope): string | undefined {
  if (origins.dataDir === "default") return undefined;
  if (isHidden(config.dataDir, scope)) throw hiddenPlace(config.dataDir, origins.dataDir);
  refuseControls(config.dataDir, origins.dataDir);
  return config.dataDir;
}

/** What tells that a directory is that of a relay. */
const OF_RELAY = ["modelrelay.db", "admin-token", "worker-secret", "relay.json"];

/**
 * What a service of the system has for its data, nobody else can read any more, and `--purge` removes it.
 *
 * @throws {UsageError} if others have something there
 */
export function refuseForeignFolder(dataDir: string, names: readonly string[]): void {
  // A file system has that one of itself.
  const others = names.filter((name) => name !== "lost+found");
  if (others.length === 0 || others.some((name) => OF_RELAY.includes(name))) return;
  throw new UsageError(
    `Cannot give the service ${shown(dataDir)} for its data: there are files in it that are no relay's`,
    { action: `Name a directory of its own, such as ${shown(join(dataDir, "modelrelay"))}` },
  );
}

/** @throws {UsageError} for what would begin a line of its own in the definition of a service, or has no place in one */
export function refuseControls(text: string, origin: string): void {
  if (!/\p{Cc}/u.test(text)) return;
  throw new UsageError(
    `Cannot use ${shown(text)} (${origin}) for a service: it has a control character in it`,
    {
      action: "Use another name",
    },
  );
}

function hiddenPlace(place: string, origin: string): UsageError {
  return new UsageError(
    `Cannot use ${shown(place)} (${origin}) for a service of the system: it sees nothing there`,
    {
      action: "Move it below /etc/modelrelay or /srv, or install with --user",
    },
  );
}

function isPath({ option, isFileOfSecret }: Setting): boolean {
  return isFileOfSecret || option.schema === path;
}

/** The service is started in another directory. */
function absolutePath(text: string): string {
  const read = path.safeParse(text);
  return read.success ? read.data : text;
}

function refuseUnfit({ setting, text }: Given, scope: Scope): void {
  const flag = `--${setting.flag}`;
  if (setting.key === "check") {
    throw new UsageError(`Cannot use ${flag} for a service: it ends after one look`, {
      action: `Leave it away, or run modelrelay worker ${flag} by itself`,
    });
  }
  // What is a secret is read now, and by whoever installs.
  if (setting.option.secret !== true) refuseControls(text, `flag ${flag}`);
  if (!isPath(setting) || setting.isFileOfSecret || !isAbsolute(text) || !isHidden(text, scope)) return;
  throw hiddenPlace(text, `flag ${flag}`);
}

function secretOf({ setting, text }: Given): ServiceSecret {
  const { option, flag, isFileOfSecret } = setting;
  const value = isFileOfSecret
    ? readText(text, "file of a secret", `flag --${flag}`).replace(/\r?\n$/, "")
    : text;
  if (value === "" || /\p{Cc}/u.test(value))
    throw new UsageError(
      `Cannot use the value of --${flag}: expected at least one character, all on one line`,
    );
  return {
    variable: option.env ?? "",
    fileFlag: isFileOfSecret ? `--${flag}` : `--${flag}-file`,
    value,
  };
}

function wordsOf({ setting: { flag, option }, text }: Given): string[] {
  if (option.kind === "switch") {
    if (text === "true") return [`--${flag}`];
    return text === "false" ? [`--no-${flag}`] : [`--${flag}=${text}`];
  }
  return [`--${flag}=${text}`];
}

/** The rest that `worker` checks itself is told by its log. */
function checkWorker(args: readonly string[], around: Surroundings): void {
  const { config } = readConfig("worker", workerOptions, { args, around });
  if (config.workerSecret !== undefined) return;
  throw new UsageError("Cannot install a worker without the relay's secret: worker-secret is not set", {
    action:
      "Add -- --worker-secret-file FILE; the relay keeps its secret in a file that it names at its start",
  });
}

function copiedNotes(secrets: readonly Given[]): string[] {
  return secrets
    .filter(({ setting }) => setting.isFileOfSecret)
    .map(({ text }) => `The secret in ${text} was copied for the service; a change there is not noticed`);
}

/** A shell's variables end with the shell. */
function ignoredNotes(table: OptionTable, env: Surroundings["env"], given: readonly Given[]): string[] {
  const named = new Set(given.map(({ setting }) => setting.key));
  const ignored = settingsOf(table).filter(
    ({ env: variable, key }) => variable !== undefined && env[variable] !== undefined && !named.has(key),
  );
  return ignored.map(
    ({ env: variable, flag }) =>
      `${variable} of this shell is no setting of the service: give --${flag} after -- if it shall be`,
  );
}
