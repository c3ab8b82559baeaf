import { readFileSync } from "node:fs";
import { join } from "node:path";

export const ROOT = join(import.meta.dir, "../..");

/** A fenced piece of a page. */
export interface Block {
  language: string;
  text: string;
  /** Of its first line, from 1. */
  line: number;
}

export interface Link {
  target: string;
  line: number;
}

/** A page of the documentation, by its path below the repository. */
export interface Page {
  path: string;
  blocks: Block[];
  /** Those that lead to a file or to a heading. */
  links: Link[];
  /** What a link can name after `#`. */
  anchors: Set<string>;
}

/** Every page that is read by people. */
export const PAGES: readonly string[] = [
  "README.md",
  "CONTRIBUTING.md",
  ...[...new Bun.Glob("docs/*.md").scanSync(ROOT)].sort(),
];

/** As GitHub makes them: lower case, no punctuation, dashes for spaces. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\p{M} _-]/gu, "")
    .trim()
    .replaceAll(" ", "-");
}

export function readPage(path: string): Page {
  const page: Page = { path, blocks: [], links: [], anchors: new Set() };
  let block: Block | undefined;
  for (const [index, line] of readFileSync(join(ROOT, path), "utf8").split("\n").entries()) {
    const fence = /^\s*```(\S*)/.exec(line);
    if (fence !== null) {
      if (block === undefined) block = { language: fence[1] ?? "", text: "", line: index + 2 };
      else {
        page.blocks.push(block);
        block = undefined;
      }
    } else if (block !== undefined) {
      block.text += `${line}\n`;
    } else {
      const heading = /^#+\s+(.*)/.exec(line)?.[1];
      if (heading !== undefined) page.anchors.add(anchorOf(heading));
      for (const [, target = ""] of line.matchAll(/\]\(([^)\s]+)\)/g))
        if (!/^[a-z]+:/.test(target)) page.links.push({ target, line: index + 1 });
    }
  }
  return page;
}
