import type { CommandFacts } from "../src/commands/command.ts";
import { flagText, helpText } from "../src/commands/help.ts";
import { settingsOf } from "../src/commands/options.ts";
import { EXITS, SIGNALS, synopsis } from "./cli-facts.ts";
import { cell, code } from "./markdown.ts";

/** As GitHub names the place of a heading. */
const anchor = (name: string): string => `modelrelay ${name}`.replaceAll(" ", "-");

function section(command: CommandFacts): string {
  const flags = settingsOf(command.options).map(
    (setting) => `| ${code(flagText(setting))} | ${cell(helpText(setting))} |`,
  );
  return `### modelrelay ${command.name}

\`\`\`text
${synopsis(command)}
\`\`\`

${command.summary}.

${command.examples.map(({ line, does }) => `- \`${line}\`: ${does}`).join("\n")}

| flag | what it does |
| --- | --- |
${flags.join("\n")}
`;
}

/** The page about the command line. */
export function cliPage(commands: readonly CommandFacts[]): string {
  return `<!-- Written by scripts/docs.ts from the tables in src/commands; do not edit by hand. -->

# Command line

\`\`\`text
modelrelay <command> [flags]
\`\`\`

The command comes first, then its flags in any order. \`modelrelay help <command>\` tells what it does and what
its flags are; environment variables, keys of the config file and defaults stand in [settings](settings.md).
The same as a manual page: \`man modelrelay\`, where install.sh has put it, or \`man -l docs/modelrelay.1\`.

| command | what it does |
| --- | --- |
${commands.map(({ name, summary }) => `| [\`${name}\`](#${anchor(name)}) | ${cell(summary)} |`).join("\n")}

## What it prints, and where

The answer to a command goes to stdout, everything else to stderr: log lines, what is to be done about an error,
and how far work is that takes a while. On a terminal that is one line, written over at most ten times a second
and gone at the end; elsewhere it is a line now and then. \`--json\` prints the answer for programs. Colour is
used on terminals alone, says nothing that the words do not, and stays away with \`NO_COLOR=1\`.

| exit code | meaning |
| --- | --- |
${EXITS.map(([codes, meaning]) => `| ${codes} | ${meaning} |`).join("\n")}

| signal | what \`serve\` and \`worker\` do |
| --- | --- |
${SIGNALS.map(([signal, meaning]) => `| ${signal} | ${meaning} |`).join("\n")}

## Completions

install.sh puts them where the shells look. By hand, for one user:

- bash, with the package bash-completion: \`modelrelay completions bash > ~/.local/share/bash-completion/completions/modelrelay\`
- bash alone: \`source <(modelrelay completions bash)\` in \`~/.bashrc\`
- zsh: \`modelrelay completions zsh > ~/.zfunc/_modelrelay\`, and \`fpath+=(~/.zfunc)\` before \`compinit\` in \`~/.zshrc\`
- fish: \`modelrelay completions fish > ~/.config/fish/completions/modelrelay.fish\`
- PowerShell: \`modelrelay completions powershell >> $PROFILE\`

## Updates

\`modelrelay update\` replaces the executable with the newest release, in the way of install.sh: it downloads the
archive and \`SHA256SUMS\` from the release address, compares, runs the new executable once, and renames it into
the place of the old one, so that whoever starts modelrelay meanwhile gets one of the two, whole. Links are
followed. Where install.sh has put the manual and completions, they are renewed as well.

The version before stays beside it as \`modelrelay.previous\`, and \`modelrelay update --rollback\` exchanges the
two; should the new one not run at all, \`modelrelay.previous update --rollback\` does so too. What runs goes on
with the old one until \`modelrelay service restart\`, or until it is started again; the command names what that is.

Nothing updates by itself. \`modelrelay update --check\` ends with 1 where there is a newer version, 0 where there is
none, and 69 where nobody can say, for a job that tells somebody.

## Commands

${commands.map(section).join("\n")}`;
}
