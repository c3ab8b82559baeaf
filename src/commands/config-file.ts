import { closeSync, openSync, readSync } from "node:fs";
import { errorCode, messageOf, UsageError } from "../base/errors.ts";
import { kebabCase, type Given, type Setting } from "./options.ts";
import { shownName, unknownName } from "./wording.ts";

/** Tables that a config file may have: one file can serve every command of a machine. */
export const FILE_TABLES = ["serve", "worker", "demo"] as const;

/** @throws {UsageError} naming the path, where it was given, and what the system said */
export function readText(path: string, what: string, origin: string): string {
  try {
    return readShort(path);
  } catch (cause) {
    // The system's message repeats the path and the name of the call; its code says enough.
    const codes: Record<string, string> = {
      ENOENT: "no such file",
      EACCES: "not allowed to read it",
      EISDIR: "it is a directory",
    };
    const code = errorCode(cause) ?? "";
    throw new UsageError(
      `Cannot read the ${what} "${path}" (${origin}): ${codes[code] ?? messageOf(cause)}`,
      { cause },
    );
  }
}

/** Settings, secrets and certificates are short; every system's authorities together have 300 KB. */
const MAX_BYTES = 4 * 1024 * 1024;

/** A pipe has no size beforehand, and a device has no end. */
function readShort(path: string): string {
  const file = openSync(path, "r");
  try {
    const bytes = Buffer.alloc(MAX_BYTES + 1);
    let length = 0;
    for (let read = -1; read !== 0 && length < bytes.length; length += read)
      read = readSync(file, bytes, length, bytes.length - length, null);
    if (length > MAX_BYTES) throw new Error("it is longer than 4 MiB");
    return bytes.toString("utf8", 0, length);
  } finally {
    closeSync(file);
  }
}

function syntaxMessage(text: string): string | undefined {
  try {
    Bun.TOML.parse(text);
    return undefined;
  } catch (thrown) {
    // The parser quotes the text it trips over, and that can be a secret.
    return messageOf(thrown)
      .replace(/^TOML Parse error: /, "")
      .replace(/: ".*$/s, "");
  }
}

/** The parser gives no line: it is the end of the shortest beginning that has the same mistake. */
function lineOf(message: string, text: string): number | undefined {
  const lines = text.split("\n");
  if (lines.length > 2_000) return undefined;
  for (let count = 1; count <= lines.length; count++) {
    if (syntaxMessage(lines.slice(0, count).join("\n")) === message) return count;
  }
  return undefined;
}

function parseToml(path: string, text: string): Record<string, unknown> {
  const message = syntaxMessage(text);
  if (message === undefined) return Bun.TOML.parse(text) as Record<string, unknown>;
  const line = lineOf(message, text);
  throw new UsageError(
    `Cannot read the config file "${path}"${line === undefined ? "" : `, line ${line}`}: ${message}`,
    {
      action: 'Correct the TOML, such as: listen = "127.0.0.1:8080"',
    },
  );
}

/** The text that an operator would have given as a flag, or `undefined` if the TOML value is of no use. */
function asText(value: unknown, isList: boolean): string | undefined {
  if (typeof value === "string") return value;
  if (typeof value === "boolean" || (typeof value === "number" && Number.isFinite(value)))
    return String(value);
  if (!isList || !Array.isArray(value)) return undefined;
  const items: unknown[] = value;
  // A comma inside an item would split it in two.
  return items.length > 0 && items.every((item) => typeof item === "string" && !item.includes(","))
    ? items.join(",")
    : undefined;
}

/**
 * Reads one command's table. Keys are flags without dashes; `max_body` stands for `max-body` as well.
 * The tables of other commands are checked when those commands run.
 *
 * @param origin where the path was given
 * @param table the command's own, in which each key has to be known, or one that it shares with another
 * @throws {UsageError} naming path and key; never the value of a secret
 */
export function readConfigFile(
  path: string,
  origin: string,
  settings: readonly Setting[],
  { name: command, isShared }: { name: string; isShared: boolean },
): Map<Setting, Given> {
  const file = parseToml(path, readText(path, "config file", origin));
  const listing = `modelrelay help ${command}`;
  for (const [name, value] of Object.entries(file)) {
    if (!FILE_TABLES.some((table) => table === name)) {
      if (typeof value === "object" && value !== null && !Array.isArray(value)) {
        throw unknownName(
          `Cannot use table [${shownName(name)}] in "${path}": expected ${FILE_TABLES.map((table) => `[${table}]`).join(", ")}`,
          name,
          FILE_TABLES,
          listing,
        );
      }
      throw new UsageError(`Cannot use key ${shownName(name)} in "${path}": it stands in no table`, {
        action: `Put it under [${command}]`,
      });
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new UsageError(`Cannot use key ${name} in "${path}": it is the name of a table`, {
        action: `Write [${name}] on its own line and its keys below it`,
      });
    }
  }
  const known = new Map(
    settings.filter(({ option }) => option.inFile !== false).map((setting) => [setting.flag, setting]),
  );
  const given = new Map<Setting, Given>();
  for (const [key, value] of Object.entries((file[command] ?? {}) as Record<string, unknown>)) {
    const where = `"${path}" key [${command}].${shownName(key)}`;
    const setting = known.get(kebabCase(key));
    if (setting === undefined && isShared) continue;
    if (setting === undefined) {
      throw unknownName(
        `Cannot use key [${command}].${shownName(key)} in "${path}": there is no such setting`,
        kebabCase(key),
        [...known.keys()],
        listing,
      );
    }
    if (given.has(setting)) {
      throw new UsageError(
        `Cannot use key [${command}].${shownName(key)} in "${path}": ${setting.flag} is given more than once`,
        { action: "Give it once" },
      );
    }
    const isList = setting.option.kind === "list";
    const text = asText(value, isList);
    if (text === undefined) {
      throw new UsageError(
        `Cannot use the value of ${where}: expected text, a number, or true or false${isList ? ", or an array of texts" : ""}`,
      );
    }
    given.set(setting, { text, origin: where });
  }
  return given;
}
