import { describe, expect, test } from "bun:test";
import {
  readVariables,
  unitCommand,
  unitPath,
  variableLine,
  withVariables,
} from "../../src/service/systemd-quote.ts";

const ODD = [
  `plain`,
  `two words`,
  `"quoted"`,
  `it's`,
  `back\\slash`,
  `a$b`,
  "a`b`",
  `100 %`,
  `a#b`,
  `a=b`,
  ` x `,
];

describe("A command in a unit", () => {
  test("has what systemd would change written so that it stays", () => {
    const words = ["/usr/bin/x", "--models=*", "a b", `"q" \\ ;`, "%h", "$HOME", ";"];
    expect(unitCommand(words)).toBe(`/usr/bin/x --models=* "a b" "\\"q\\" \\\\ ;" "%%h" "$$HOME" ";"`);
  });

  test("has a program that is never a variable", () => {
    expect(unitCommand(["/opt/$HOME/50% x", "$HOME"])).toBe(`"/opt/$HOME/50%% x" "$$HOME"`);
  });

  test("has a path as settings take it, in which variables mean nothing", () => {
    expect(unitPath("/srv/relay")).toBe("/srv/relay");
    expect(unitPath("/srv/50% of $x")).toBe(`"/srv/50%% of $x"`);
  });
});

describe("An environment file", () => {
  test("gives back every value that was written to it", () => {
    for (const value of ODD) expect(readVariables(variableLine("NAME", value))).toEqual({ NAME: value });
  });

  test("has what ends a value, or stands for another one, written so that it does not", () => {
    expect(variableLine("A", "plain/value=1")).toBe("A=plain/value=1");
    expect(variableLine("A", 'a "b" $c `d` \\')).toBe('A="a \\"b\\" \\$c \\`d\\` \\\\"');
  });

  test("is read as a person would write it", () => {
    const content = `# NAME=comment\n A = 1\nB='two words'\nexport C=3\n\nD="a \\"b\\""\nE=\n`;
    expect(readVariables(content)).toEqual({ A: "1", B: "two words", D: `a "b"`, E: "" });
  });

  test("keeps what is not set anew, in its place", () => {
    const before = `# A comment\nLISTEN_ADDR=:8080\nWORKER_SECRET=old\n# The end\n`;
    expect(withVariables(before, { WORKER_SECRET: "new one", ADMIN: "x" })).toBe(
      `# A comment\nLISTEN_ADDR=:8080\n# The end\nWORKER_SECRET="new one"\nADMIN=x\n`,
    );
    expect(withVariables("", {})).toBe("");
  });
});
