import { describe, expect, test } from "bun:test";
import { cpSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "../e2e/program.ts";
import { lacksPart, requirePart } from "../support/parts.ts";
import { askBash, askFish, Installed, PLACES, startAtPrompt } from "./shells.ts";

const CLI = [process.execPath, new URL("../../src/cli.ts", import.meta.url).pathname];
const LEVELS = ["error", "warn", "info", "debug", "trace"];

const flagsOf = (words: string): string[] =>
  PLACES.find((place) => place.words === words)?.flags.map(({ name }) => name) ?? [];
const membersOf = (words: string): string[] =>
  PLACES.find((place) => place.words === words)?.members.map(({ name }) => name) ?? [];

describe.skipIf(lacksPart("bash"))("Completions of bash", () => {
  test("offer commands, their groups, values, files and folders", () => {
    using installed = new Installed("bash");
    const lines: [line: string[], expected: string[]][] = [
      [["modelrelay", ""], membersOf("")],
      [["modelrelay", "ke"], ["keys"]],
      [["modelrelay", "keys", "re"], ["revoke"]],
      [
        ["modelrelay", "workers", "secret", ""],
        ["create", "list", "revoke"],
      ],
      [["modelrelay", "help", "keys", "cr"], ["create"]],
      [["modelrelay", "--v"], ["--version"]],
      [["modelrelay", "serve", "--log-level", ""], LEVELS],
      [["modelrelay", "serve", "--log-level", "=", "w"], ["warn"]],
      [["modelrelay", "serve", "--log-level", "="], LEVELS],
      [["modelrelay", "serve", "--log-level=w"], ["--log-level=warn"]],
      [["modelrelay", "serve", "--tls", "--log-level", "d"], ["debug"]],
      [
        ["modelrelay", "serve", "--config", ""],
        ["a file.pem", "data", "relay.toml"],
      ],
      [["modelrelay", "serve", "--config", "=", "rel"], ["relay.toml"]],
      [["modelrelay", "serve", "--config", "a f"], ["a file.pem"]],
      [["modelrelay", "serve", "--data-dir", ""], ["data"]],
      [["modelrelay", "worker", "--worker-secret-file", "r"], ["relay.toml"]],
      [["modelrelay", "db", "backup", "re"], ["relay.toml"]],
      [
        ["modelrelay", "completions", ""],
        ["bash", "zsh", "fish", "powershell"],
      ],
    ];
    const answers = askBash(
      installed,
      lines.map(([line]) => line),
    );
    expect(answers.map((answer) => answer.sort())).toEqual(lines.map(([, expected]) => expected.toSorted()));
  });

  test("offer nothing where only the user knows, after --, and for what is no command", () => {
    using installed = new Installed("bash");
    const lines = [
      ["modelrelay", "serve", "--listen", ""],
      ["modelrelay", "worker", "--worker-secret", ""],
      ["modelrelay", "serve", "--listen", "=", ""],
      ["modelrelay", "serve", "--", ""],
      ["modelrelay", "nonsense", "x"],
      ["modelrelay", "completions", "bash", "x"],
    ];
    expect(askBash(installed, lines)).toEqual(lines.map(() => []));
  });

  test("offer the flags of the command that is named, behind --", () => {
    using installed = new Installed("bash");
    const install = ["modelrelay", "service", "install"];
    const [flags, none, level, file, other, before] = askBash(installed, [
      [...install, "worker", "--", "--max-"],
      [...install, "--", "--max-"],
      [...install, "--user", "serve", "gpu", "--", "--log-level", "=", "w"],
      [...install, "worker", "--user", "--", "--worker-secret-file", "rel"],
      [...install, "serve", "--user", "--", "--us"],
      [...install, "serve", "--max-"],
    ]);
    expect([flags, none, level, file, other, before]).toEqual([
      ["--max-concurrency"],
      [],
      ["warn"],
      ["relay.toml"],
      ["--usage-retention"],
      [],
    ]);
  });

  test("offer every flag of every command once, opposites only to who begins one", () => {
    using installed = new Installed("bash");
    const commands = PLACES.filter(({ members, words }) => members.length === 0 && words !== "");
    const answers = askBash(
      installed,
      commands.map(({ words }) => ["modelrelay", ...words.split(" "), "-"]),
    );
    const isOpposite = (name: string): boolean => name.startsWith("--no-");
    expect(answers.map((answer) => answer.sort())).toEqual(
      commands.map(({ flags }) =>
        flags
          .map(({ name }) => name)
          .filter((name) => !isOpposite(name))
          .sort(),
      ),
    );
    const [opposites, again] = askBash(installed, [
      ["modelrelay", "serve", "--no-"],
      ["modelrelay", "serve", "--tls", "--domain", "a.example", "--listen", ":1", "--"],
    ]);
    expect(opposites?.sort()).toEqual(flagsOf("serve").filter(isOpposite).sort());
    expect(again).not.toContain("--tls");
    expect(again).not.toContain("--listen");
    expect(again).toContain("--domain");
  });

  test("work at a prompt, with = in the line and with a file that has a space", async () => {
    using installed = new Installed("bash");
    await using shell = await startAtPrompt(
      [requirePart("bash"), "--norc", "-i"],
      `bind 'set enable-bracketed-paste off'; source '${installed.file}'`,
      installed.work,
    );
    await shell.complete("modelrelay doc", "modelrelay doctor ");
    await shell.complete("modelrelay serve --log-level=w", "--log-level=warn ");
    await shell.complete("modelrelay serve --config a", String.raw`--config a\ file.pem `);
    await shell.complete("modelrelay serve --data-dir d", "--data-dir data/");
  });
});

describe.skipIf(lacksPart("fish"))("Completions of fish", () => {
  test("offer commands, their groups, values, files and folders", () => {
    using installed = new Installed("fish");
    const lines: [line: string, expected: string[]][] = [
      ["modelrelay ", membersOf("")],
      ["modelrelay ke", ["keys"]],
      ["modelrelay keys re", ["revoke"]],
      ["modelrelay workers secret ", ["create", "list", "revoke"]],
      ["modelrelay help keys cr", ["create"]],
      ["modelrelay --v", ["--version"]],
      ["modelrelay serve --log-level ", LEVELS],
      ["modelrelay serve --log-level=w", ["--log-level=warn"]],
      ["modelrelay serve --config r", ["relay.toml"]],
      ["modelrelay serve --data-dir ", ["data/"]],
      ["modelrelay serve --listen ", []],
      ["modelrelay worker --worker-secret ", []],
      ["modelrelay worker --worker-secret-file r", ["relay.toml"]],
      ["modelrelay db backup re", ["relay.toml"]],
      ["modelrelay completions ", ["bash", "zsh", "fish", "powershell"]],
      ["modelrelay completions bash ", []],
      ["modelrelay serve --log-level warn --log-f", ["--log-format"]],
    ];
    const answers = askFish(
      installed,
      lines.map(([line]) => line),
    );
    expect(answers.map((answer) => answer.sort())).toEqual(lines.map(([, expected]) => expected.toSorted()));
  });

  test("offer the flags of the command that is named, behind --", () => {
    using installed = new Installed("fish");
    const answers = askFish(installed, [
      "modelrelay service install worker -- --max-",
      "modelrelay service install -- --max-",
      "modelrelay service install --user serve -- --log-level w",
      "modelrelay service install worker --user -- --worker-secret-file rel",
      "modelrelay service install serve -- --us",
      "modelrelay service install serve -- --tls --us",
    ]);
    expect(answers).toEqual([
      ["--max-concurrency"],
      [],
      ["warn"],
      ["relay.toml"],
      ["--usage-retention"],
      ["--usage-retention"],
    ]);
  });

  test("offer every flag of every command", () => {
    using installed = new Installed("fish");
    const commands = PLACES.filter(({ members, words }) => members.length === 0 && words !== "");
    const answers = askFish(
      installed,
      commands.map(({ words }) => `modelrelay ${words} --`),
    );
    expect(answers.map((answer) => answer.sort())).toEqual(
      commands.map(({ flags }) => flags.map(({ name }) => name).sort()),
    );
  });
});

describe.skipIf(lacksPart("zsh"))("Completions of zsh", () => {
  const lines: [line: string, expected: string][] = [
    ["modelrelay doc", "modelrelay doctor "],
    ["modelrelay keys rev", "keys revoke "],
    ["modelrelay help workers secret cr", "workers secret create "],
    ["modelrelay serve --log-le", "--log-level="],
    ["modelrelay serve --log-level=w", "--log-level=warn "],
    ["modelrelay serve --log-level w", "--log-level warn "],
    ["modelrelay serve --no-ht", "--no-http"],
    ["modelrelay serve --config=rel", "--config=relay.toml "],
    ["modelrelay serve --data-dir ", "--data-dir data/"],
    ["modelrelay db backup a", String.raw`db backup a\ file.pem `],
    ["modelrelay completions fi", "completions fish "],
    ["modelrelay worker --worker-secret-f", "--worker-secret-file="],
    ["modelrelay service install worker -- --max-c", "--max-concurrency="],
    ["modelrelay service install serve --user -- --log-level=w", "--log-level=warn "],
    ["modelrelay service install wor", "install worker "],
    ["modelrelay keys ", "Makes a key for a client and shows it, once"],
  ];

  test("work at a prompt, sourced", async () => {
    using installed = new Installed("zsh");
    const setup = `autoload -U compinit; compinit -u -D; source '${installed.file}'; zle_highlight=(none)`;
    await using shell = await startAtPrompt([requirePart("zsh"), "-f", "-i"], setup, installed.work);
    for (const [line, expected] of lines) await shell.complete(line, expected);
  });

  test("work from a folder of functions, from the first time on", async () => {
    using installed = new Installed("zsh", "_modelrelay");
    const functions = join(installed.dir, "functions");
    mkdirSync(functions);
    cpSync(installed.file, join(functions, "_modelrelay"));
    const setup = `fpath=('${functions}' $fpath); autoload -U compinit; compinit -u -D; zle_highlight=(none)`;
    await using shell = await startAtPrompt([requirePart("zsh"), "-f", "-i"], setup, installed.work);
    for (const [line, expected] of lines.slice(0, 6)) await shell.complete(line, expected);
  });
});

describe("Completions", () => {
  test("of PowerShell hold every command, flag and value, and no quote that ends a text too early", () => {
    using installed = new Installed("powershell");
    const lines = installed.text.split("\n");
    for (const { flags, members, words } of PLACES) {
      const begin = lines.indexOf(`    '${words}' = @{`);
      const block = lines.slice(begin, lines.indexOf("    }", begin)).join("\n");
      expect(begin).toBeGreaterThan(0);
      for (const { name } of [...flags, ...members]) expect(block).toContain(`@{ Name = '${name}'; Help = '`);
    }
    expect(installed.text).toContain(`Takes = 'names ${LEVELS.join(" ")}'`);
    // Without quoted texts, in which a quote is doubled, what is left holds none, and every bracket has its other.
    const bare = installed.text.replaceAll(/#.*$/gm, "").replaceAll(/'(?:[^'\n]|'')*'/g, "");
    expect(bare).not.toContain("'");
    for (const [open, close] of [
      ["(", ")"],
      ["{", "}"],
      ["[", "]"],
    ] as const)
      expect([open, bare.split(open).length]).toEqual([open, bare.split(close).length]);
  });

  test("ask which shell, and refuse another, with exit code 2", async () => {
    const [none, other] = await Promise.all([
      runProgram([...CLI, "completions"]),
      runProgram([...CLI, "completions", "tcsh"]),
    ]);
    expect(none).toMatchObject({ code: 2, stdout: "" });
    expect(none.stderr).toContain(
      "Cannot tell for which shell: SHELL is missing\n  → Write one of: modelrelay completions bash,",
    );
    expect(other).toMatchObject({ code: 2, stdout: "" });
    expect(other.stderr).toContain("expected one of bash, zsh, fish, powershell");
  });
});
