import { expect, test } from "bun:test";
import { timing } from "../../src/base/server-timing.ts";

test.each([
  [0, "0.0"],
  [0.04, "0.0"],
  [0.05, "0.1"],
  [0.96, "1.0"],
  [9.949, "9.9"],
  [1_234.56, "1234.6"],
  [86_400_000, "86400000.0"],
  [-0.06, "0.0"],
])("Server timing of %d ms has one decimal", (ms, shown) => {
  expect(timing("queue", ms)).toBe(`queue;dur=${shown}`);
});
