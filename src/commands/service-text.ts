import type { Plan, PlannedFile } from "../service/index.ts";

/** What an installation would do, as a script would: files with their content, then command lines. */
export function planText({ user, directories, files, steps }: Plan): string {
  const lines = [
    ...(user === undefined
      ? []
      : [`# User ${user.name} of the system, if there is none, with the home ${user.home}`]),
    ...directories.map(
      ({ path, mode, owner }) =>
        `# Directory ${path}, mode ${octal(mode)}${owner === undefined ? "" : `, of ${owner}`}`,
    ),
  ];
  const shownFiles = files.map((file) => `# File ${file.path}, mode ${octal(file.mode)}\n${contentOf(file)}`);
  const commands = steps.map(({ command }) => command.map(word).join(" "));
  return `${lines.join("\n")}\n\n${shownFiles.join("\n")}\n# Then\n${commands.join("\n")}\n`;
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}

function contentOf({ content, isSecret }: PlannedFile): string {
  const text = (
    typeof content === "string"
      ? content
      : Buffer.from(content)
          .toString("utf16le")
          .replace(/^\uFEFF/, "")
  ).replaceAll("\r", "");
  if (isSecret !== true) return text;
  // A variable keeps its name; a file of a secret alone has nothing to show.
  return text.replace(/^(?!#)(\w+=)?.+$/gm, "$1(secret)");
}

function word(text: string): string {
  return /^[\w@%+=:,./\\-]+$/.test(text) ? text : `'${text}'`;
}
