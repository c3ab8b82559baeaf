import { expect, test } from "bun:test";
import { ALL_COMMANDS } from "../../src/commands/all-commands.ts";
import { settingsOf } from "../../src/commands/options.ts";

const page = await Bun.file(new URL("../../docs/tls.md", import.meta.url)).text();

/** Lines of the code blocks, and code within sentences. */
const code = page.split("```").flatMap((part, index) => {
  if (index % 2 === 1) return part.split("\n");
  return [...part.matchAll(/`([^`]+)`/g)].map((match) => match[1]!);
});

/** Every call of the program that the page shows, without variables before it or a pipe behind it. */
const calls = code.flatMap((line) => {
  const call = /^(?:[A-Z_]+=\S+ )*(?:sudo )?modelrelay ([^|]+)/.exec(line)?.[1];
  return call === undefined ? [] : [call.trim()];
});

test("docs/tls.md shows only commands and flags that there are", () => {
  expect(calls.length).toBeGreaterThan(25);
  for (const call of calls) {
    const command = ALL_COMMANDS.filter(({ name }) => `${call} `.startsWith(`${name} `)).sort(
      (a, b) => b.name.length - a.name.length,
    )[0];
    expect({ call, command: command?.name }).toEqual({ call, command: expect.any(String) });
    const flags = [...call.matchAll(/(?<=\s)--([a-z0-9-]+)/g)].map((match) => match[1]!.replace(/^no-/, ""));
    const known = settingsOf(command!.options).map(({ flag }) => flag);
    expect({ call, unknown: flags.filter((flag) => !known.includes(flag)) }).toEqual({ call, unknown: [] });
  }
});

test("docs/tls.md leads only to headings that it has", () => {
  const headings = [...page.matchAll(/^#+ (.+)$/gm)].map((match) =>
    match[1]!
      .toLowerCase()
      .replace(/[^\w\s-]/g, "")
      .replace(/\s/g, "-"),
  );
  const targets = [...page.matchAll(/\]\(#([^)]+)\)/g)].map((match) => match[1]!);
  expect(targets.length).toBeGreaterThan(5);
  expect(targets.filter((target) => !headings.includes(target))).toEqual([]);
});
