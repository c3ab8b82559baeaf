import { settingsOf, type OptionTable, type Setting } from "./options.ts";

/** What the help says about a command besides its options. */
export interface CommandText {
  name: string;
  /** One line, without a final period. */
  summary: string;
  /** Table of the config file, where it is not the command's own name. Keys of it that the command lacks are passed over. */
  file?: string;
  /** What may follow after `--`, such as the flags of another command; the command reads that itself. */
  rest?: string;
  /** A command line each, with what it does. */
  examples: readonly { line: string; does: string }[];
}

/** Columns of the help; flags that are wider get a line of their own. */
const FLAG_WIDTH = 30;
const LINE_WIDTH = 100;

/** `--listen HOST:PORT`, `--[no-]check`. */
export function flagText({ flag, option, isFileOfSecret }: Setting): string {
  if (option.kind === "switch") return `--[no-]${flag}`;
  return `--${flag} ${isFileOfSecret ? "FILE" : (option.hint ?? "VALUE")}`;
}

/** The default in words, or `undefined` where a setting may be left out. */
export function defaultText({ option, isFileOfSecret }: Setting): string | undefined {
  if (isFileOfSecret) return undefined;
  return option.defaultText ?? (typeof option.default === "string" ? option.default : undefined);
}

export function helpText({ option, flag, isFileOfSecret }: Setting): string {
  return isFileOfSecret ? `File whose content is ${flag.replace(/-file$/, "")}` : option.help;
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    if (line === undefined || line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines;
}

function entry(left: string, paragraphs: readonly string[]): string {
  const lines = paragraphs.flatMap((text) => wrap(text, LINE_WIDTH - FLAG_WIDTH));
  const head =
    left.length + 4 > FLAG_WIDTH ? [`  ${left}`] : [`  ${left}`.padEnd(FLAG_WIDTH) + (lines.shift() ?? "")];
  return [...head, ...lines.map((line) => " ".repeat(FLAG_WIDTH) + line)].join("\n");
}

function flagEntry(setting: Setting): string {
  const preset = defaultText(setting);
  const facts = [
    ...(setting.env === undefined ? [] : [setting.env]),
    ...(preset === undefined ? [] : [`default: ${preset}`]),
  ];
  return entry(flagText(setting), [
    helpText(setting),
    ...(facts.length === 0 ? [] : [`[${facts.join("; ")}]`]),
  ]);
}

/** Where a setting comes from, for a command that reads the config file and for one that does not. */
function sourcesText(name: string, table: OptionTable): string {
  if (table["config"] === undefined) return "";
  return `
A setting is taken from its flag, else from the environment variable in brackets, else from the table
[${name}] of the file that --config names (the key is the flag without dashes), else from its default.`;
}

export function commandHelp(
  { name, summary, examples, rest, file = name }: CommandText,
  table: OptionTable,
): string {
  const settings = settingsOf(table);
  const operands = settings
    .filter(({ option }) => option.operand === true)
    .map(({ option }) => ` ${option.hint}`);
  return `Usage: modelrelay ${name}${operands.join("")} [flags]${rest === undefined ? "" : ` [-- ${rest}]`}

${summary}.

Flags:
${settings.map(flagEntry).join("\n")}
${entry("-h, --help", ["This text"])}

Examples:
${examples.map(({ line, does }) => `  ${line}\n      ${does}`).join("\n")}
${sourcesText(file, table)}
Durations are written 30s, 5m, 1h30m, or as seconds; sizes 64KiB, 128MiB, or as bytes.
`;
}

/** What a group of commands consists of. */
export function groupHelp(group: string, summary: string, commands: readonly CommandText[]): string {
  return `Usage: modelrelay ${group} <command> [flags]

${summary}.

Commands:
${commands.map((command) => entry(command.name.slice(group.length + 1), [command.summary])).join("\n")}

Flags of a command: modelrelay help ${group} <command>
`;
}

/** @param groups what each group of commands is for; its members are shown by its own help */
export function rootHelp(
  version: string,
  commands: readonly CommandText[],
  groups: Readonly<Record<string, string>>,
): string {
  const entries = [
    ...commands.filter(({ name }) => !name.includes(" ")).map(({ name, summary }) => entry(name, [summary])),
    ...Object.entries(groups).map(([name, summary]) => entry(`${name} <command>`, [summary])),
    entry("help [command]", ["What a command does and its flags"]),
  ];
  return `modelrelay ${version}: one public address for models that run on private machines

Usage: modelrelay <command> [flags]

Commands:
${entries.join("\n")}

Flags:
${entry("-h, --help", ["This text"])}
${entry("-v, --version", ["Version, commit and platform"])}

Start with: modelrelay demo
`;
}
