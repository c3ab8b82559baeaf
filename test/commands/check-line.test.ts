import { expect, test } from "bun:test";
import { checkLine } from "../../src/commands/check-line.ts";

test("What was found takes one line of a terminal, and moves nothing on it", () => {
  const line = checkLine({
    step: "port",
    target: "a\u001b[2J",
    ok: false,
    details: "held by b\nok    everything",
    action: "Stop b\r\u009b1m",
  });
  expect(line).toBe("FAIL  port                 a?[2J: held by b?ok    everything\n      → Stop b??1m\n");
});
