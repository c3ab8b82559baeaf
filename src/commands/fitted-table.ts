import { oneLine } from "../base/one-line.ts";

export interface Column {
  title: string;
  /** Numbers stand at the right. */
  align?: "right";
  /**
   * How its cells are cut where there is little room; others never are. A `list` (with commas and spaces)
   * loses its last items, a `text` its end, and then a `name` its middle.
   */
  cut?: "name" | "list" | "text";
}

const LETTERS = new Intl.Segmenter();
const GAP = 2;
/** What a cut column keeps. */
const LEAST_WIDTH = { list: 16, text: 16, name: 12 };
/** Of a cell, where there is room for any. */
const MAX_CELL = 4_000;

/**
 * Lines of aligned columns, the titles first, that are no wider than asked where that can be done by cutting
 * names and lists. What others have named moves no terminal.
 *
 * @param width in cells of a terminal
 */
export function fittedTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
): string[] {
  const cells = rows.map((row) => row.map((cell) => oneLine(cell, MAX_CELL)));
  const widths = columns.map(({ title }, at) =>
    Math.max(title.length, ...cells.map((row) => Bun.stringWidth(row[at] ?? ""))),
  );
  let excess = sum(widths) + GAP * (columns.length - 1) - width;
  for (const kind of ["list", "text", "name"] as const) excess = shrink(columns, widths, kind, excess);
  return [columns.map(({ title }) => title), ...cells].map((row) =>
    columns
      .map(({ align, cut }, at) =>
        padded(cutCell(row[at] ?? "", widths[at] ?? 0, cut), widths[at] ?? 0, align),
      )
      .join(" ".repeat(GAP))
      .trimEnd(),
  );
}

/** Takes width from the widest columns of a kind. @returns what could not be had */
function shrink(
  columns: readonly Column[],
  widths: number[],
  kind: keyof typeof LEAST_WIDTH,
  excess: number,
): number {
  // Where nothing has to fit, it is endless below zero.
  let left = excess;
  while (left > 0) {
    const candidates = widths.filter((width, at) => columns[at]?.cut === kind && width > LEAST_WIDTH[kind]);
    if (candidates.length === 0) break;
    const widest = Math.max(...candidates);
    const at = widths.findIndex((width, column) => columns[column]?.cut === kind && width === widest);
    widths[at] = widest - 1;
    left--;
  }
  return left;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function padded(text: string, width: number, align: Column["align"]): string {
  const room = " ".repeat(Math.max(0, width - Bun.stringWidth(text)));
  return align === "right" ? room + text : text + room;
}

function cutCell(text: string, width: number, cut: Column["cut"]): string {
  if (Bun.stringWidth(text) <= width) return text;
  if (cut === "list") return cutList(text.split(", "), width);
  return cut === "text" ? cutText(text, width) : cutMiddle(text, width);
}

/** `llama3.1:8b, phi4 +3`: those that fit, and how many more there are. */
function cutList(items: readonly string[], width: number): string {
  for (let shown = items.length - 1; shown > 0; shown--) {
    const text = `${items.slice(0, shown).join(", ")} +${items.length - shown}`;
    if (Bun.stringWidth(text) <= width) return text;
  }
  const rest = items.length > 1 ? ` +${items.length - 1}` : "";
  return cutMiddle(items[0] ?? "", width - rest.length) + rest;
}

/** Both ends of a name: what tells it from others of its kind is at one of them. */
function cutMiddle(text: string, width: number): string {
  if (Bun.stringWidth(text) <= width) return text;
  const tail = Math.floor((width - 1) / 2);
  let end = text.length;
  for (const { index } of [...LETTERS.segment(text)].toReversed()) {
    if (Bun.stringWidth(text.slice(index)) > tail) break;
    end = index;
  }
  return cutText(text, width - tail) + text.slice(end);
}

/** Lines of whole words; a word that is longer than a line is cut. */
export function wrapText(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    if (line === undefined || Bun.stringWidth(line) + 1 + Bun.stringWidth(word) > width) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines.map((line) => cutText(line, width));
}

/** As much of a text as fits, with `…` where some is missing; a letter may take two cells. */
export function cutText(text: string, width: number): string {
  if (Bun.stringWidth(text) <= width) return text;
  let kept = "";
  for (const { segment } of LETTERS.segment(text)) {
    if (Bun.stringWidth(kept + segment) > width - 1) break;
    kept += segment;
  }
  return `${kept}…`;
}
