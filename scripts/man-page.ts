import type { CommandFacts } from "../src/commands/command.ts";
import { defaultText, flagText, helpText } from "../src/commands/help.ts";
import { settingsOf, type Setting } from "../src/commands/options.ts";
import { EXITS, SIGNALS, synopsis } from "./cli-facts.ts";

// The manual page in the macros of man(7), which groff and mandoc both read.

/** Of the last change to what stands in this file; the tables change with the version. */
const DATE = "2026-11-21";

/** Characters beyond ASCII by their names in groff_char(7). */
const NAMED: Record<string, string> = { "→": String.raw`\(->`, "…": "...", "’": "'", "–": String.raw`\(en` };

function escaped(text: string): string {
  return text
    .replaceAll("\\", String.raw`\e`)
    .replaceAll(
      /[^\0-\x7f]/gu,
      (char) => NAMED[char] ?? `\\[u${char.codePointAt(0)?.toString(16).toUpperCase().padStart(4, "0")}]`,
    );
}

/** Longest line of the source, as mandoc's lint has it. */
const LINE = 80;

/** What would be taken for a request at the beginning of a line. */
const guarded = (line: string): string => (/^[.']/.test(line) ? `\\&${line}` : line);

/** Prose, each sentence on lines of its own. The dashes of flags are the ones that are typed. */
function prose(text: string): string {
  const dashes = escaped(text).replaceAll(/(?<![\w-])-{1,2}[a-z][\w-]*/gi, (flag) =>
    flag.replaceAll("-", String.raw`\-`),
  );
  const sentences = dashes.split(/(?<=[.;:]) (?=[A-Z])/).map((sentence) => {
    const lines = [""];
    for (const word of sentence.split(" ")) {
      const line = lines.at(-1) ?? "";
      if (line !== "" && line.length + 1 + word.length > LINE - 2) lines.push(word);
      else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
    }
    return lines.map(guarded).join("\n");
  });
  return sentences.join("\n");
}

/** What is typed as it stands there. */
function literal(text: string): string {
  return guarded(escaped(text).replaceAll("-", String.raw`\-`));
}

/** An argument of a macro. */
const argument = (text: string): string => `"${text.replaceAll('"', '""')}"`;

function flagEntry(setting: Setting): string {
  const [flag = "", value] = flagText(setting).split(" ");
  const preset = defaultText(setting);
  const facts = [
    ...(setting.env === undefined ? [] : [`Environment: ${setting.env}.`]),
    ...(preset === undefined ? [] : [`Default: ${preset}.`]),
  ];
  const head =
    value === undefined
      ? `.B ${argument(literal(flag))}`
      : `.BI ${argument(`${literal(flag)} `)} ${argument(literal(value))}`;
  return [`.TP`, head, prose(`${helpText(setting)}.`), ...facts.map(prose)].join("\n");
}

function exampleEntry({ line, does }: { line: string; does: string }): string {
  return [".TP", `.B ${argument(literal(line))}`, prose(`${does}.`)].join("\n");
}

function section(command: CommandFacts): string {
  return `.SS ${argument(literal(synopsis(command)))}
${prose(`${command.summary}.`)}
${settingsOf(command.options).map(flagEntry).join("\n")}
.PP
Examples:
${command.examples.map(exampleEntry).join("\n")}`;
}

const entries = (facts: readonly [string, string][]): string =>
  facts.map(([head, text]) => `.TP\n.B ${argument(literal(head))}\n${prose(`${text}.`)}`).join("\n");

export function manPage(version: string, commands: readonly CommandFacts[]): string {
  return `.\\" Written by scripts/docs.ts from the tables in src/commands; do not edit by hand.
.TH MODELRELAY 1 ${DATE} ${argument(`modelrelay ${version}`)} "User Commands"
.SH NAME
modelrelay \\- one public address for models that run on private machines
.SH SYNOPSIS
.B modelrelay
.I command
.RI [ flags ]
.br
.B modelrelay help
.RI [ command ]
.br
.B modelrelay \\-\\-version
.SH DESCRIPTION
.B modelrelay serve
takes OpenAI and Anthropic requests on a machine with a public address and
hands them to workers;
.B modelrelay worker
runs beside an inference server, dials out to the relay and needs no open port.
The other commands look after keys, certificates, usage, the database, services
and this program.
.PP
A setting is taken from its flag, else from its environment variable, else
from the file that
.B \\-\\-config
names (TOML, in the table of the command; the key is the flag without dashes),
else from its default.
Durations are written 30s, 5m or 1h30m, or as seconds; sizes 64KiB or 128MiB,
or as bytes.
A switch is written
.BR \\-\\-name ,
.B \\-\\-no\\-name
or
.BR \\-\\-name=false .
A secret can stand in a file of its own, named by its flag with
.B \\-file
at the end.
.SH COMMANDS
${commands.map(section).join("\n")}
.SH SIGNALS
${entries(SIGNALS)}
.SH EXIT STATUS
${entries(EXITS)}
.SH ENVIRONMENT
The variables of the settings stand beside them. Besides:
.TP
.B NO_COLOR
Where it is set, nothing is coloured.
.TP
.BR HTTPS_PROXY ", " HTTP_PROXY ", " NO_PROXY
The proxy that downloads of
.B update
go through.
.SH FILES
.TP
.I /var/lib/modelrelay
The data directory of a service of the system: keys, usage, certificates,
secrets.
Elsewhere it is the platform's own place for a user's data.
.TP
.I modelrelay.previous
Beside the executable: the version before it, for
.BR "modelrelay update \\-\\-rollback" .
.SH SEE ALSO
.BR systemctl (1),
.BR journalctl (1)
`;
}
