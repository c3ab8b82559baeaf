import { describe, expect, test } from "bun:test";
import { cutText, fittedTable, type Column } from "../../src/commands/fitted-table.ts";

const COLUMNS: Column[] = [
  { title: "NAME", cut: "name" },
  { title: "N", align: "right" },
  { title: "MODELS", cut: "list" },
];
const row = (name: string, models: string) => [name, "12", models];

describe("A fitted table", () => {
  test("is as wide as its cells where there is room", () => {
    const rows = [row("gpu-box-1", "a, b"), row("gpu-box-10", "c")];
    const lines = ["NAME         N  MODELS", "gpu-box-1   12  a, b", "gpu-box-10  12  c"];
    expect(fittedTable(COLUMNS, rows, Infinity)).toEqual(lines);
    expect(fittedTable(COLUMNS, rows, 22)).toEqual(lines);
    expect(fittedTable(COLUMNS, [], 80)).toEqual(["NAME  N  MODELS"]);
  });

  test("leaves the last items of a list out first, and says how many", () => {
    const models = "llama3.1:8b, nomic-embed-text, qwen2.5-coder:32b";
    const at = (width: number) => fittedTable(COLUMNS, [row("gpu-box-1", models)], width)[1];
    expect(at(64)).toBe("gpu-box-1  12  llama3.1:8b, nomic-embed-text, qwen2.5-coder:32b");
    expect(at(62)).toBe("gpu-box-1  12  llama3.1:8b, nomic-embed-text +1");
    expect(at(40)).toBe("gpu-box-1  12  llama3.1:8b +2");
  });

  test("leaves the middle of a name out once lists are short, so that its ends can be told apart", () => {
    const rows = [1, 2].map((n) =>
      row(`relay-worker-deployment-${n}-of-the-first-rack-${n}x`, "llama3.1:8b-instruct-q4_K_M"),
    );
    const lines = fittedTable(COLUMNS, rows, 50);
    expect(lines).toEqual([
      "NAME                           N  MODELS",
      "relay-worker-d…first-rack-1x  12  llama3.1…-q4_K_M",
      "relay-worker-d…first-rack-2x  12  llama3.1…-q4_K_M",
    ]);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(50);
  });

  test("is never wider than asked while there is something to cut, and never cuts numbers", () => {
    const rows = [row("n".repeat(60), "m".repeat(60)), row("short", "a, b, c")];
    for (const width of [120, 80, 60, 40, 36]) {
      const lines = fittedTable(COLUMNS, rows, width);
      expect(Math.max(...lines.map((line) => Bun.stringWidth(line)))).toBeLessThanOrEqual(width);
      expect(lines[1]).toContain("  12  ");
    }
    // Both columns keep enough to be read.
    expect(fittedTable(COLUMNS, rows, 10)[1]).toBe("nnnnnn…nnnnn  12  mmmmmmmm…mmmmmmm");
  });

  test("counts cells of the terminal, of which a letter may take two, and cuts no letter in half", () => {
    const lines = fittedTable(COLUMNS, [row("模型工作站北京", "x"), row("gpu", "y")], Infinity);
    expect(lines.slice(1)).toEqual(["模型工作站北京  12  x", "gpu             12  y"]);
    expect(cutText("模型工作站", 6)).toBe("模型…");
    expect(cutText("a👩‍👩‍👧b", 3)).toBe("a…");
    expect(cutText("abc", 3)).toBe("abc");
  });

  test("lets no name move the terminal", () => {
    const [, line] = fittedTable(COLUMNS, [row("a\u001b[2J\nb", "c\u202e")], 80);
    expect(line).toBe("a?[2J?b  12  c?");
  });
});
