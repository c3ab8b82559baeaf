import { oneLine } from "../base/one-line.ts";

/** Of a cell; the longest thing that a record keeps is a path. */
const MAX_CELL = 512;

/** Lines of aligned columns. What others have named moves no terminal. */
export function tableText(cells: readonly (readonly string[])[]): string {
  const rows = cells.map((row) => row.map((cell) => oneLine(cell, MAX_CELL)));
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  "))
    .map((line) => `${line.trimEnd()}\n`)
    .join("");
}

/** `2026-11-21 20:10` in UTC. */
export function timeText(iso: string | null, none: string): string {
  return iso === null ? none : iso.slice(0, 16).replace("T", " ");
}
