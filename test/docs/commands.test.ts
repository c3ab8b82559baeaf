import { beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ALL_COMMANDS } from "../../src/commands/all-commands.ts";
import { surroundings } from "../../src/commands/command.ts";
import { settingsOf } from "../../src/commands/options.ts";
import { readConfig } from "../../src/commands/read-config.ts";
import { serveCommand } from "../../src/commands/serve.ts";
import { workerCommand } from "../../src/commands/worker.ts";
import { binaryPath } from "../support/binary.ts";
import { cacheDir, lacksPart } from "../support/parts.ts";
import { bareCommand, NOT_RUN, ONLY_PARSED } from "./not-run.ts";
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
const skip = !isSuperuser || lacksPart("curl", "ip", "pebble", "pebbleChallengeServer");

/** Runs a page on a copy of this machine. */
async function runPage(path: string): Promise<Report> {
  const isolate = ["unshare", "--mount", "--net", "--pid", "--uts", "--fork", "--kill-child", "sh"];
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

const withCommands = PAGES.filter((path) => readPage(path).blocks.some(({ language }) => language === "sh"));

/** Their machines are their own, so a few at a time take no longer than one: most of the time they wait. */
const AT_ONCE = 3;

/** Starts to run pages, and tells of each when it is done. */
function runPages(paths: readonly string[]): Map<string, Promise<Report>> {
  const waiting = paths.map((path) => ({ path, done: Promise.withResolvers<Report>() }));
  const queue = [...waiting];
  const runNext = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const { path, done } = next;
      await runPage(path).then(done.resolve, done.reject);
    }
  };
  for (let lane = 0; lane < AT_ONCE; lane++) void runNext();
  return new Map(waiting.map(({ path, done }) => [path, done.promise]));
}

describe.skipIf(skip)("The commands of", () => {
  let reports = new Map<string, Promise<Report>>();
  beforeAll(() => {
    reports = runPages(withCommands);
    for (const report of reports.values()) report.catch(() => {});
  });

  for (const path of withCommands) {
    test(`${path} run as they stand`, async () => {
      const ran = (await reports.get(path))?.ran ?? [];
      const failed = ran
        .filter(({ code }) => code !== 0)
        .map(({ line, code, output }) => `${path}:${line} ended with exit code ${code}\n${output}`);
      expect(failed).toEqual([]);
      expect(ran.length).toBeGreaterThan(0);
    }, 300_000);
  }

  test("pages name each program that is only pretended", async () => {
    const all = await Promise.all(reports.values());
    const pretended = new Set(all.flatMap((report) => report.pretended));
    expect(Object.keys(NOT_RUN).filter((name) => !pretended.has(name))).toEqual([]);
  });
});

describe("What pages show beside commands", () => {
  const parsers: Record<string, (text: string) => unknown> = {
    json: (text) => JSON.parse(text) as unknown,
    yaml: (text) => Bun.YAML.parse(text),
    toml: (text) => Bun.TOML.parse(text),
  };
  for (const path of PAGES) {
    for (const { language, line, text } of readPage(path).blocks) {
      const read = Object.hasOwn(parsers, language) ? parsers[language] : undefined;
      if (read === undefined) continue;
      test(`${path}:${line} is ${language}`, () => {
        expect(() => read(text)).not.toThrow();
      });
    }
  }
});

describe("Commands that are only parsed", () => {
  const lines = new Set(
    PAGES.flatMap((path) => readPage(path).blocks.flatMap(({ text }) => text.split("\n").map(bareCommand))),
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

test("Every flag and variable that the Rust ModelRelay has is one of ours, under the same name", () => {
  const { options: serve } = serveCommand;
  const { options: worker } = workerCommand;
  const ours = new Set(
    [...settingsOf(serve), ...settingsOf(worker)].map(({ flag, env }) => `${flag} ${env}`),
  );
  const page = readFileSync(join(ROOT, "docs/from-rust-modelrelay.md"), "utf8");
  const theirs = [...page.matchAll(/^\| `--([a-z-]+)` \| `([A-Z_]+)` \|/gm)].map(
    ([, flag, env]) => `${flag} ${env}`,
  );
  expect(theirs.length).toBeGreaterThan(14);
  expect(theirs.filter((name) => !ours.has(name))).toEqual([]);
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
