import { describe, expect, test } from "bun:test";
import { Problem, UsageError } from "../../src/base/errors.ts";
import { reportFailure } from "../../src/commands/failure.ts";

function report(thrown: unknown, withStack = false): { text: string; code: number } {
  let text = "";
  const code = reportFailure(thrown, (part) => (text += part), withStack);
  return { text, code };
}

describe("Failure", () => {
  test("a problem is its message and what to do, with exit code 1", () => {
    expect(report(new Problem("Cannot listen", { action: "Take another port" }), true)).toEqual({
      text: "error: Cannot listen\n  → Take another port\n",
      code: 1,
    });
  });

  test("a problem that quotes a server sends the terminal no control characters", () => {
    expect(
      report(new Problem("The relay refused: \u001b]0;x\u0007\u009b31m", { action: "Look\rat it" })),
    ).toEqual({
      text: "error: The relay refused: ?]0;x??31m\n  → Look?at it\n",
      code: 1,
    });
  });

  test("a usage error ends with exit code 2", () => {
    expect(report(new UsageError("Cannot use it"))).toEqual({ text: "error: Cannot use it\n", code: 2 });
  });

  test("anything else is called a bug, without its stack", () => {
    expect(report(new TypeError("x is undefined"))).toEqual({
      text: "error: x is undefined\n  → This is a bug in modelrelay: please report it with the command that led here; LOG_LEVEL=debug shows where it arose\n",
      code: 70,
    });
  });

  test("the stack of a bug is shown when debugging", () => {
    const { text, code } = report(new TypeError("x is undefined"), true);
    expect(text).toContain("failure.test.ts");
    expect(code).toBe(70);
  });
});
