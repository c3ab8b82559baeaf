import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { settingsOf } from "../../src/commands/options.ts";
import { serveCommand } from "../../src/commands/serve.ts";
import { workerCommand } from "../../src/commands/worker.ts";
import { markdownTable } from "./matrix-table.ts";

const root = join(import.meta.dir, "../..");
const page = readFileSync(join(root, "docs/reliability.md"), "utf8");
const relaySources = ["server/relay.ts", "server/worker-session.ts", "server/link-acceptor.ts"];
const workerSources = ["worker/relay-link.ts", "worker/connection.ts"];

function sourceOf(files: readonly string[]): string {
  return files.map((file) => readFileSync(join(root, "src", file), "utf8")).join("\n");
}

/** First cells of the table whose first heading this is, without their quotes. */
function firstCells(heading: string): string[] {
  const lines = page.split("\n");
  const first = lines.findIndex((line) => line.startsWith(`| ${heading} |`));
  const rest = lines.slice(first + 2);
  return rest
    .slice(
      0,
      rest.findIndex((line) => !line.startsWith("|")),
    )
    .map((line) => /^\| `(.+?)` \|/.exec(line)?.[1] ?? line);
}

test("docs/reliability.md shows the matrix as it is tested", () => {
  expect(page).toContain(`\n\n${markdownTable()}\n\n`);
});

test("docs/reliability.md quotes lines that the log has", () => {
  for (const [heading, source] of [
    ["log of the relay", sourceOf(relaySources)],
    ["log of the worker", sourceOf(workerSources)],
  ] as const) {
    const lines = firstCells(heading);
    expect(lines.length).toBeGreaterThan(2);
    expect(lines.filter((line) => !source.includes(line))).toEqual([]);
  }
});

test("docs/reliability.md names flags that there are", () => {
  const known = [serveCommand, workerCommand].flatMap(({ options }) =>
    settingsOf(options).map(({ flag }) => `--${flag}`),
  );
  const named = [...page.matchAll(/`(--[a-z-]+)/g)].map((match) => match[1]!);
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter((flag) => !known.includes(flag))).toEqual([]);
});
