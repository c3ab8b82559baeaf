import type { CommandFacts } from "./command.ts";
import { helpText } from "./help.ts";
import { settingsOf, type Setting } from "./options.ts";
import { namesOf, path } from "./value-kinds.ts";

/** What a shell can offer for a value. */
export type Takes =
  | { kind: "names"; names: readonly string[] }
  | { kind: "file" | "folder" }
  /** Only whoever types it knows. */
  | { kind: "text" };

export interface CompletedFlag {
  /** With its dashes. */
  name: string;
  help: string;
  /** `undefined` for one that stands alone. */
  takes: Takes | undefined;
  /** As the help calls its value. */
  hint: string;
  isRepeatable: boolean;
  /** Flags that make no sense beside it, without itself. */
  excludes: readonly string[];
}

/** A point in the command line where the words so far name a command, or a group of them. */
export interface Place {
  /** The words so far, such as `keys create`; empty at the beginning. */
  words: string;
  members: readonly { name: string; help: string }[];
  operands: readonly { hint: string; takes: Takes }[];
  flags: readonly CompletedFlag[];
  /** Whether what follows `--` are flags of the command that the first operand names. */
  hasRest: boolean;
}

function takesOf({ option, isFileOfSecret }: Setting): Takes {
  if (isFileOfSecret) return { kind: "file" };
  const names = namesOf(option.schema);
  if (names !== undefined) return { kind: "names", names };
  if (option.schema !== path) return { kind: "text" };
  return { kind: option.hint === "DIR" ? "folder" : "file" };
}

function flagsOf(setting: Setting): CompletedFlag[] {
  const { option, flag, isFileOfSecret } = setting;
  const help = helpText(setting);
  const name = `--${flag}`;
  if (option.kind === "switch") {
    const standsAlone = { takes: undefined, hint: "", isRepeatable: false };
    const no = `--no-${flag}`;
    return [
      { ...standsAlone, name, help, excludes: [no] },
      { ...standsAlone, name: no, help: `The opposite of ${name}`, excludes: [name] },
    ];
  }
  // A secret and the file that holds it are one setting.
  const excludes =
    option.secret !== true ? [] : [isFileOfSecret ? name.replace(/-file$/, "") : `${name}-file`];
  const hint = isFileOfSecret ? "FILE" : (option.hint ?? "VALUE");
  return [{ name, help, takes: takesOf(setting), hint, isRepeatable: option.kind === "list", excludes }];
}

const HELP_FLAG: CompletedFlag = {
  name: "--help",
  help: "What it does and its flags",
  takes: undefined,
  hint: "",
  isRepeatable: false,
  excludes: [],
};

const VERSION_FLAG: CompletedFlag = { ...HELP_FLAG, name: "--version", help: "Version, commit and platform" };

function commandPlace(command: CommandFacts): Place {
  const settings = settingsOf(command.options);
  const operands = settings.filter(({ option }) => option.operand === true);
  return {
    words: command.name,
    members: [],
    operands: operands.map((setting) => ({ hint: setting.option.hint ?? "VALUE", takes: takesOf(setting) })),
    // What can stand alone is seldom written with its flag.
    flags: [...settings.filter((setting) => !operands.includes(setting)).flatMap(flagsOf), HELP_FLAG],
    hasRest: command.rest !== undefined,
  };
}

/**
 * Every place of the command line.
 *
 * @param groups what each group of commands is for, by its words
 */
export function completionPlaces(
  commands: readonly CommandFacts[],
  groups: Readonly<Record<string, string>>,
): Place[] {
  const byWords = new Map(commands.map((command) => [command.name, command]));
  const groupWords = [
    ...new Set(commands.flatMap(({ name }) => prefixesOf(name)).filter((words) => !byWords.has(words))),
  ];
  const helpOf = (words: string): string =>
    byWords.get(words)?.summary ?? groups[words] ?? groups[words.split(" ")[0] ?? ""] ?? "";
  const membersOf = (words: string) =>
    [...new Set([...byWords.keys(), ...groupWords])]
      .filter((other) => parentOf(other) === words)
      .map((other) => ({ name: other.slice(words === "" ? 0 : words.length + 1), help: helpOf(other) }));
  const help = { name: "help", help: "What a command does and its flags" };
  const none = { operands: [], flags: [], hasRest: false };
  return [
    { ...none, words: "", members: [...membersOf(""), help], flags: [HELP_FLAG, VERSION_FLAG] },
    { ...none, words: "help", members: membersOf("") },
    ...groupWords.flatMap((words) => [
      { ...none, words, members: membersOf(words), flags: [HELP_FLAG] },
      { ...none, words: `help ${words}`, members: membersOf(words) },
    ]),
    ...commands.map(commandPlace),
  ];
}

/** `a`, `a b` of `a b c`. */
function prefixesOf(words: string): string[] {
  const parts = words.split(" ");
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join(" "));
}

function parentOf(words: string): string {
  return words.split(" ").slice(0, -1).join(" ");
}
