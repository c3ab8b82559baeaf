import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { manPage } from "../../scripts/man-page.ts";
import { ALL_COMMANDS } from "../../src/commands/all-commands.ts";
import type { CommandFacts } from "../../src/commands/command.ts";
import { flagText } from "../../src/commands/help.ts";
import { defineOptions, settingsOf } from "../../src/commands/options.ts";
import { label } from "../../src/commands/value-kinds.ts";
import { runProgram } from "../e2e/program.ts";
import { lacksPart, requirePart } from "../support/parts.ts";
import { TempDir } from "../commands/reading.ts";

const PAGE = join(import.meta.dir, "../../docs/modelrelay.1");

/** The page as a terminal shows it, without what makes letters bold, and with its lines joined. */
async function shownText(path: string): Promise<string> {
  const { stdout } = await runProgram([requirePart("mandoc"), "-Tutf8", "-Owidth=200", path]);
  // eslint-disable-next-line no-control-regex
  return stdout.replaceAll(/.\u0008/g, "").replaceAll(/\s+/g, " ");
}

describe("Manual page", () => {
  test.skipIf(lacksPart("mandoc"))("has nothing that mandoc's lint finds", async () => {
    const { stdout, stderr, code } = await runProgram([requirePart("mandoc"), "-Tlint", "-Wstyle", PAGE]);
    expect({ stdout, stderr, code }).toEqual({ stdout: "", stderr: "", code: 0 });
  });

  test.skipIf(lacksPart("man"))("is formatted by groff without a warning", async () => {
    const { stderr, stdout, code } = await runProgram([requirePart("man"), "--warnings", "-l", PAGE], {
      env: { MANPAGER: "cat", LC_ALL: "C.UTF-8", MANWIDTH: "80" },
    });
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    expect(stdout).toContain("public address for models");
  });

  test.skipIf(lacksPart("mandoc"))(
    "shows every command and flag, with the dashes that are typed",
    async () => {
      const text = await shownText(PAGE);
      for (const command of ALL_COMMANDS) {
        expect(text).toContain(` modelrelay ${command.name} `);
        for (const setting of settingsOf(command.options)) expect(text).toContain(` ${flagText(setting)} `);
        for (const { line } of command.examples) expect(text).toContain(line);
      }
    },
  );

  test.skipIf(lacksPart("mandoc"))("shows whatever stands in a table as it stands there", async () => {
    const odd = String.raw`.TH at its beginning, a \fB back\slash, "quotes", 'single ones', an … and a ☃`;
    const command: CommandFacts = {
      name: "odd",
      summary: odd,
      examples: [{ line: String.raw`modelrelay odd --x '.\n "y"'`, does: "'Odd" }],
      options: defineOptions({
        x: { help: odd, hint: "X", default: ".5", schema: label(10) },
      }),
    };
    using dir = new TempDir();
    const file = dir.write("odd.1", manPage("1.2.3", [command]));
    const { stdout } = await runProgram([requirePart("mandoc"), "-Tlint", "-Wwarning", file]);
    expect(stdout).toBe("");
    const text = await shownText(file);
    expect(text).toContain(`${odd.replace("…", "...")}.`);
    expect(text).toContain(String.raw`modelrelay odd --x '.\n "y"'`);
    expect(text).toContain("'Odd.");
    expect(text).toContain("Default: .5.");
  });
});
