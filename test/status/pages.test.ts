import { describe, expect, test } from "bun:test";
import { TempDir } from "../commands/reading.ts";
import { readPage } from "../docs/page.ts";
import { runCli } from "../doctor/machine.ts";
import { Program } from "../faults/processes.ts";
import { connectRawWorker } from "../support/relays.ts";

/** Command lines of a page's sessions, and what stands below each. */
function sessions(path: string): { args: string[]; output: string[] }[] {
  return readPage(path)
    .blocks.filter(({ language }) => language === "console")
    .flatMap(({ text }) =>
      text
        .split(/^\$ /m)
        .slice(1)
        .map((session) => {
          const [command = "", ...output] = session.trimEnd().split("\n");
          return { args: command.split(" ").slice(1), output };
        }),
    );
}

/** First words of lines; of a table those of its head alone, since the rest is the reader's own. */
const HEADS = /^(?:[A-Z/]{4,}|relay|requests|last minute)(?= )/;
const heads = (lines: readonly string[]): string[] =>
  lines.map((line) => HEADS.exec(line)?.[0] ?? "").filter((head) => head !== "");

describe("What the pages show", () => {
  test("of status is what is seen of a relay with a worker, certificates aside", async () => {
    using dir = new TempDir();
    await using relay = new Program("serve", ["--listen", "127.0.0.1:0", "--data-dir", dir.path]);
    const worker = await connectRawWorker(await relay.url());
    await worker.register(["m"]);
    const shown = sessions("docs/status.md");
    expect(shown.length).toBe(1);
    for (const { args, output } of shown) {
      const { stdout, code } = await runCli(args, { env: { MODELRELAY_DATA_DIR: dir.path } });
      const seen = stdout.split("\n");
      expect(code).toBe(0);
      expect(heads(output).filter((head) => head !== "CERTIFICATE")).toEqual(heads(seen));
      for (const title of ["WORKER ", "MODEL "]) {
        const columns = (lines: readonly string[]) =>
          lines.find((line) => line.startsWith(title))?.split(/ +/);
        expect(columns(output)).toEqual(columns(seen));
      }
    }
    worker.close();
  });

  test("of the doctor are lines of its kind", async () => {
    using dir = new TempDir();
    const shown = sessions("docs/doctor.md");
    expect(shown.length).toBe(1);
    const line = /^(ok {4}|warn {2}|skip {2}|FAIL {2})[a-z][a-z ]{19} \S|^ {6}→ \S|^…$/;
    for (const { args, output } of shown) {
      const { stdout } = await runCli(args, {
        env: { MODELRELAY_DATA_DIR: dir.path, LISTEN_ADDR: "127.0.0.1:0" },
      });
      for (const lines of [output, stdout.trimEnd().split("\n")])
        expect(lines.filter((text) => !line.test(text))).toEqual([]);
    }
  });
});
