import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ALL_COMMANDS, GROUPS } from "../../src/commands/all-commands.ts";
import { completionPlaces } from "../../src/commands/completion-places.ts";
import { startOnTerminal } from "../support/on-terminal.ts";
import { requirePart } from "../support/parts.ts";

const CLI = new URL("../../src/cli.ts", import.meta.url).pathname;

/** All that there is to complete. */
export const PLACES = completionPlaces(ALL_COMMANDS, GROUPS);

/** What `modelrelay completions` prints, in a file as users keep it; and a folder with things to name. */
export class Installed implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), "modelrelay-completions-"));
  /** Holds `relay.toml`, `a file.pem` and the folder `data`. */
  readonly work = join(this.dir, "work");
  readonly file: string;
  readonly text: string;

  constructor(shell: string, name = shell) {
    const { stdout, exitCode, stderr } = Bun.spawnSync([process.execPath, CLI, "completions", shell]);
    if (exitCode !== 0) throw new Error(`completions ${shell} ended with ${exitCode}: ${stderr.toString()}`);
    this.text = stdout.toString();
    this.file = join(this.dir, name);
    writeFileSync(this.file, this.text);
    mkdirSync(join(this.work, "data"), { recursive: true });
    for (const file of ["relay.toml", "a file.pem"]) writeFileSync(join(this.work, file), "");
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true });
  }
}

function run(command: string[], cwd: string, env: Record<string, string> = {}): string {
  const { stdout, stderr, exitCode } = Bun.spawnSync(command, {
    cwd,
    env: { PATH: process.env["PATH"] ?? "", HOME: cwd, ...env },
  });
  if (exitCode !== 0 || stderr.length > 0)
    throw new Error(`${command[0]} ended with ${exitCode}: ${stderr.toString()}`);
  return stdout.toString();
}

/** Stands after what was offered for one line. */
const END = "(end)";

/** The lines of each answer. */
function answersIn(output: string): string[][] {
  const answers: string[][] = [[]];
  for (const line of output.split("\n")) {
    if (line === END) answers.push([]);
    else if (line !== "") answers.at(-1)?.push(line);
  }
  return answers.slice(0, -1);
}

/** What bash offers for each line, its words given as it divides them; the last word is completed. */
export function askBash({ file, work }: Installed, lines: readonly (readonly string[])[]): string[][] {
  const asks = lines.map((words) => {
    const list = words.map((word) => `'${word}'`).join(" ");
    return `COMP_WORDS=(${list}); COMP_CWORD=${words.length - 1}; _modelrelay; printf '%s\\n' "\${COMPREPLY[@]}" '${END}'`;
  });
  const script = `source '${file}'; ${asks.join("\n")}`;
  return answersIn(run([requirePart("bash"), "--norc", "-c", script], work));
}

/** What fish offers for each line, without what it says of it. */
export function askFish({ file, work }: Installed, lines: readonly string[]): string[][] {
  const asks = lines.map((line) => `complete -C '${line}'; echo '${END}'`);
  const script = `source '${file}'; ${asks.join("; ")}`;
  const answers = answersIn(run([requirePart("fish"), "--no-config", "-c", script], work));
  return answers.map((answer) => answer.map((line) => line.split("\t")[0] ?? ""));
}

/** A shell at its prompt, on a terminal. */
export interface AtPrompt extends AsyncDisposable {
  /** Types the line and a tab; resolves when the screen shows the text. */
  complete(line: string, expected: string): Promise<void>;
}

/** @param setup what is typed first */
export async function startAtPrompt(command: string[], setup: string, cwd: string): Promise<AtPrompt> {
  const shell = startOnTerminal(command, { columns: 200, cwd, env: { HOME: cwd, PS1: "> " } });
  let read = 0;
  const until = async (text: string): Promise<void> => {
    const escaped = text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
    await shell.until(new RegExp(`^[\\s\\S]{${read}}[\\s\\S]*?${escaped}`));
    read = shell.written.length;
  };
  // The words of the setup themselves must not look like its end.
  shell.type(`${setup}; echo set-"up"-done\r`);
  await until("set-up-done\r\n");
  return {
    async complete(line, expected) {
      shell.type(`${line}\t`);
      await until(expected);
      // Away with the line.
      shell.type("\u0015\r");
      await until("\r\n");
    },
    [Symbol.asyncDispose]: () => shell[Symbol.asyncDispose](),
  };
}
