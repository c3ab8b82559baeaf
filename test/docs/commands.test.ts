import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { ALL_COMMANDS } from "../../src/commands/all-commands.ts";
import { surroundings } from "../../src/commands/command.ts";
import { readConfig } from "../../src/commands/read-config.ts";
import { binaryPath } from "../support/binary.ts";
import { cacheDir, lacksPart } from "../support/parts.ts";
import { NOT_RUN, ONLY_PARSED } from "./not-run.ts";
import { PAGES, readPage, ROOT } from "./page.ts";
import type { Report } from "./world.ts";

/** Words of a line as a shell would read them; lines that are only parsed have nothing harder than quotes. */
function words(line: string): string[] {
  return [...line.matchAll(/(?:'[^']*'|[^\s'])+/g)].map(([word]) => word.replaceAll("'", ""));
}

/** Reads a command's settings as the program would. @throws {UsageError} as the program would */
function parse(line: string): void {
  const all = words(line);
  const env: Record<string, string> = {};
  while (/^[A-Z_]+=/.test(all[0] ?? "")) {
    const [name = "", value = ""] = (all.shift() ?? "").split(/=(.*)/s);
    env[name] = value;
  }
  expect(all.shift()).toBe("modelrelay");
  const command = ALL_COMMANDS.find(({ name }) => `${all.join(" ")} `.startsWith(`${name} `));
  if (command === undefined) throw new Error(`There is no command in: ${line}`);
  // Files that it names are on the reader's machine.
  const args = all
    .slice(command.name.split(" ").length)
    .filter((word, at, given) => !(word.endsWith("-file") || given[at - 1]?.endsWith("-file")));
  readConfig(command.name, command.options, { args, around: surroundings(env) });
}

const isSuperuser = process.platform === "linux" && process.getuid?.() === 0;
if (!isSuperuser) process.stderr.write("Commands of pages are run by root on Linux alone: skipped\n");
const skip = !isSuperuser || lacksPart("curl", "pebble", "pebbleChallengeServer");

const reports = new Map<string, Report>();

/** Runs a page on a copy of this machine. */
async function runPage(path: string): Promise<Report> {
  const isolate = ["unshare", "--mount", "--net", "--pid", "--uts", "--fork", "sh"];
  const child = Bun.spawn(
    [
      ...isolate,
      join(import.meta.dir, "sandbox.sh"),
      process.execPath,
      join(import.meta.dir, "world.ts"),
      path,
    ],
    {
      env: {
        PATH: process.env["PATH"],
        HOME: process.env["HOME"],
        MODELRELAY_BINARY: binaryPath(),
        SANDBOX_SOURCES: ROOT,
        SANDBOX_PARTS: cacheDir,
      },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    },
  );
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`Cannot run ${path}: exit code ${code}\n${stdout}${stderr}`);
  return JSON.parse(stdout) as Report;
}

const hasCommands = (path: string) => readPage(path).blocks.some(({ language }) => language === "sh");

describe.skipIf(skip)("The commands of", () => {
  for (const path of PAGES.filter(hasCommands)) {
    test(`${path} run as they stand`, async () => {
      const report = await runPage(path);
      reports.set(path, report);
      const failed = report.ran
        .filter(({ code }) => code !== 0)
        .map(({ line, code, output }) => `${path}:${line} ended with exit code ${code}\n${output}`);
      expect(failed).toEqual([]);
      expect(report.ran.length).toBeGreaterThan(0);
    }, 180_000);
  }

  test("pages name each program that is only pretended", () => {
    // Where some pages were left out, nobody can tell.
    if (reports.size < PAGES.filter(hasCommands).length) return;
    const pretended = new Set([...reports.values()].flatMap((report) => report.pretended));
    expect(Object.keys(NOT_RUN).filter((name) => !pretended.has(name))).toEqual([]);
  });
});

describe("Commands that are only parsed", () => {
  const lines = new Set(
    PAGES.flatMap((path) => readPage(path).blocks.flatMap(({ text }) => text.split("\n"))),
  );
  for (const line of Object.keys(ONLY_PARSED)) {
    test(`${line} is in a page, and its settings are taken`, () => {
      expect(lines.has(line)).toBe(true);
      parse(line);
    });
  }

  test("a mistake in one would be found", () => {
    expect(() => parse("modelrelay worker --proxy-urll http://127.0.0.1:8080")).toThrow("proxy-urll");
    expect(() => parse("modelrelay serve --queue-timeout never")).toThrow("never");
    expect(() => parse("modelrelay wroker")).toThrow("no command");
  });
});

describe("The links of", () => {
  for (const path of PAGES) {
    test(`${path} lead somewhere`, () => {
      const dead = readPage(path).links.filter(({ target }) => {
        const [file = "", anchor] = target.split("#");
        const found = file === "" ? path : join(dirname(path), file);
        if (!existsSync(join(ROOT, found))) return true;
        return anchor !== undefined && found.endsWith(".md") && !readPage(found).anchors.has(anchor);
      });
      expect(dead).toEqual([]);
    });
  }

  test("the README reach every page", () => {
    const seen = new Set<string>();
    const visit = (path: string): void => {
      if (seen.has(path)) return;
      seen.add(path);
      for (const { target } of readPage(path).links) {
        const next = join(dirname(path), target.split("#")[0] ?? "");
        if (next.endsWith(".md") && existsSync(join(ROOT, next))) visit(next);
      }
    };
    visit("README.md");
    expect(PAGES.filter((path) => !seen.has(path))).toEqual([]);
  });
});
