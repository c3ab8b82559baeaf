import { ALL_COMMANDS } from "../src/commands/all-commands.ts";
import type { CommandFacts } from "../src/commands/command.ts";
import { FILE_TABLES } from "../src/commands/config-file.ts";
import { defaultText, flagText, helpText } from "../src/commands/help.ts";
import { settingsOf, type Setting } from "../src/commands/options.ts";
import packageJson from "../package.json" with { type: "json" };
import { cliPage } from "./cli-page.ts";
import { manPage } from "./man-page.ts";
import { cell, code } from "./markdown.ts";

// bun run docs: writes the pages that are made from the tables of options; with --check, only looks whether
// they are in line.

function row(setting: Setting): string {
  const { option, env, isFileOfSecret } = setting;
  const preset = defaultText(setting);
  const presetCell =
    preset === undefined ? "" : option.defaultText === undefined ? code(preset) : cell(preset);
  const accepts = isFileOfSecret ? "a path" : (option.schema.description ?? "");
  const notes = [
    ...(option.secret === true && !isFileOfSecret ? ["Secret."] : []),
    ...(option.kind === "list" ? ["The flag may be repeated."] : []),
    ...(option.reload === true ? ["Changes at SIGHUP."] : []),
    ...(option.inFile === false ? ["Not in the config file."] : []),
  ];
  const about = [`${cell(helpText(setting))}.`, `Takes ${cell(accepts)}.`, ...notes].join(" ");
  return `| ${code(flagText(setting))} | ${env === undefined ? "" : code(env)} | ${presetCell} | ${about} |`;
}

function section(command: CommandFacts): string {
  return `## modelrelay ${command.name}

${command.summary}.

| flag | environment | default | what it does |
| --- | --- | --- | --- |
${settingsOf(command.options).map(row).join("\n")}
`;
}

function settingsPage(): string {
  const tables = FILE_TABLES.map((name) => `\`[${name}]\``).join(", ");
  return `<!-- Written by scripts/docs.ts from the tables in src/commands; do not edit by hand. -->

# Settings

Every setting is a flag, an environment variable and a key of one optional config file. A flag wins over
the environment, the environment over the file, the file over the default. An empty environment variable
counts as not set. Whatever is unknown, repeated or wrong ends the program with exit code 2 and a message
that says where it stands.

- **Config file.** TOML, named by \`--config FILE\` or \`MODELRELAY_CONFIG\`, with the tables ${tables}. A key
  is the flag without its dashes: \`--max-queue-len 50\` is \`max-queue-len = 50\` (or \`max_queue_len\`).
- **Durations** are written \`30s\`, \`5m\`, \`1h30m\`, \`250ms\`, or as plain seconds; **sizes** \`64KiB\`,
  \`128MiB\`, \`1GB\`, or as plain bytes.
- **Switches** are \`--check\`, \`--no-check\` or \`--check=false\`; elsewhere \`true\`, \`false\`, \`yes\`, \`no\`,
  \`1\` or \`0\`.
- **Secrets** can stand in a file of their own: \`--worker-secret-file FILE\` or \`WORKER_SECRET_FILE=FILE\`. One
  newline at its end does not count. A secret and its file, both as flags, both in the environment or both
  in the config file, are refused; otherwise the order above decides.
- **SIGHUP** makes \`serve\` read the config file again. What is marked below changes at once; for the rest the
  log says that a restart is needed.

${ALL_COMMANDS.map(section).join("\n")}`;
}

const PAGES: Record<string, string> = {
  "docs/settings.md": settingsPage(),
  "docs/cli.md": cliPage(ALL_COMMANDS),
  "docs/modelrelay.1": manPage(packageJson.version, ALL_COMMANDS),
};

for (const [path, wanted] of Object.entries(PAGES)) {
  const file = Bun.file(new URL(`../${path}`, import.meta.url));
  if (!process.argv.includes("--check")) await Bun.write(file, wanted);
  else if (!(await file.exists()) || (await file.text()) !== wanted) {
    console.error(`${path} does not match the tables in src/commands: run \`bun scripts/docs.ts\``);
    process.exitCode = 1;
  }
}
