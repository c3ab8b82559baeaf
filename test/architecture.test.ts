import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const ROOT = join(import.meta.dir, "..");
const SOURCE = join(ROOT, "src");

/** What each part may import, itself and `base` aside, and why no more. */
const MAY_IMPORT: Record<string, { parts: string[]; why: string }> = {
  base: { parts: [], why: "everything stands on it" },
  protocol: { parts: [], why: "the link belongs to neither end" },
  tls: { parts: ["protocol"], why: "certificates know nothing of relays" },
  demo: { parts: [], why: "the built-in model is a backend like any other" },
  server: { parts: ["protocol", "tls"], why: "the relay must run without a worker's code" },
  worker: { parts: ["protocol"], why: "a worker needs no server and no certificates of its own" },
  doctor: { parts: ["server"], why: "it opens a relay's database, and is told of the rest" },
  update: { parts: [], why: "releases know nothing of relays" },
  service: { parts: [], why: "what keeps a program alive knows only how it is started" },
  mesh: { parts: ["protocol"], why: "discovery is used by ends, and uses none" },
  commands: {
    parts: ["server", "worker", "doctor", "update", "service", "mesh", "tls", "demo", "protocol"],
    why: "commands put the parts together",
  },
};

/** Each thing of the outside world has one owner. */
const OWNERS: { what: string; pattern: RegExp; files: RegExp; why: string }[] = [
  {
    what: "Bun.serve",
    pattern: /\bBun\.serve\b/,
    files: /^(server\/listener|demo\/server)\.ts$/,
    why: "one place knows the HTTP server; the demonstration model is a server of its own",
  },
  {
    what: "process.env",
    pattern: /\bprocess\.env\b/,
    files: /^(commands\/|cli\.ts$|base\/log\.ts$)/,
    why: "the environment is read by the commands; a log asks only whether colour is wanted",
  },
  {
    what: "process.exit",
    pattern: /\bprocess\.exit/,
    files: /^(commands\/|cli\.ts$)/,
    why: "exit codes belong to the commands",
  },
  {
    what: "Bun.connect",
    pattern: /\bBun\.connect\b/,
    files: /^worker\/http\/http-client\.ts$|^tls\//,
    why: "one place speaks HTTP with backends",
  },
  {
    what: "new WebSocket",
    pattern: /new WebSocket\(/,
    files: /^worker\/(dial|link-probe)\.ts$/,
    why: "the worker's socket belongs to its dial",
  },
  {
    what: "console",
    pattern: /\bconsole\./,
    files: /^commands\/demo\.ts$/,
    why: "stdout is for answers, stderr goes through the log; the demo prints a snippet that has one",
  },
  {
    what: "Date.now",
    pattern: /\bDate\.now\(|(?<!\.)\b(setTimeout|setInterval)\(/,
    files: /^base\/clock\.ts$/,
    why: "time comes from a Clock, so that tests can move it",
  },
  {
    what: "SQL",
    pattern: /from "bun:sqlite"|\bnew (Bun\.)?SQL\(/,
    files: /^server\/store\/((sqlite|postgres)-database|sqlite-usage)\.ts$/,
    why: "the store owns the database, and works with it in a thread of its own",
  },
  {
    what: "new Worker",
    pattern: /new Worker\(/,
    files: /^server\/store\/thread\.ts$/,
    why: "a thread is an entry point that the build has to know",
  },
  {
    what: "acme-client",
    pattern: /from "acme-client"/,
    files: /^tls\/acme\/session\.ts$/,
    why: "one adapter words its errors",
  },
];

interface SourceFile {
  /** Relative to src. */
  path: string;
  text: string;
  imports: string[];
}

const transpiler = new Bun.Transpiler({ loader: "ts" });

const files: SourceFile[] = [...new Bun.Glob("**/*.ts").scanSync(SOURCE)].map((path) => {
  const text = readFileSync(join(SOURCE, path), "utf8");
  return { path, text, imports: importsOf(path, text) };
});

/** Files that one imports, types included, as paths below src. */
function importsOf(path: string, text: string): string[] {
  const written = [...text.matchAll(/(?:from|import\()\s*"(\.[^"]+)"/g)].map((match) => match[1] ?? "");
  const scanned = transpiler
    .scanImports(text)
    .map((found) => found.path)
    .filter((name) => name.startsWith("."));
  return [...new Set([...written, ...scanned])].map((name) =>
    relative(SOURCE, join(SOURCE, dirname(path), name)),
  );
}

const partOf = (path: string) => (path.includes("/") ? (path.split("/")[0] ?? "") : "cli");

describe("Architecture", () => {
  test("every part is known, and every part that exists is looked at", () => {
    const parts = new Set(files.map((file) => partOf(file.path)).filter((part) => part !== "cli"));
    expect([...parts].filter((part) => MAY_IMPORT[part] === undefined)).toEqual([]);
    expect(files.length).toBeGreaterThan(60);
  });

  for (const [part, { parts, why }] of Object.entries(MAY_IMPORT)) {
    test(`${part} imports only ${["itself", "base", ...parts].join(", ")}: ${why}`, () => {
      const allowed = new Set([part, "base", ...parts]);
      const wrong = files
        .filter((file) => partOf(file.path) === part)
        .flatMap((file) => file.imports.map((target) => ({ from: file.path, target })))
        .filter(({ target }) => !target.startsWith("..") && !allowed.has(partOf(target)));
      expect(wrong).toEqual([]);
    });
  }

  test("the core of the relay does no I/O and has no clock", () => {
    const core = files.filter((file) => file.path.startsWith("server/core/"));
    expect(core.length).toBeGreaterThan(3);
    for (const file of core) {
      expect({
        file: file.path,
        uses: /\b(Bun|process|performance|fetch|setTimeout|Math\.random|Date)\b\.?/.exec(
          code(file.text),
        )?.[0],
      }).toEqual({ file: file.path, uses: undefined });
      const outside = file.imports.filter(
        (target) => !/^(server\/core|protocol\/messages|base\/)/.test(target),
      );
      expect({ file: file.path, outside }).toEqual({ file: file.path, outside: [] });
    }
  });

  for (const { what, pattern, files: owners, why } of OWNERS) {
    test(`${what} has one owner: ${why}`, () => {
      const users = files.filter((file) => pattern.test(code(file.text))).map((file) => file.path);
      expect(users.filter((path) => !owners.test(path))).toEqual([]);
    });
  }

  test("no source file is longer than 350 lines", () => {
    const long = files.filter((file) => file.text.split("\n").length > 350).map((file) => file.path);
    expect(long).toEqual([]);
  });

  test("nothing imports in a circle", () => {
    const graph = new Map(files.map((file) => [file.path, file.imports]));
    const done = new Set<string>();
    const circles: string[] = [];
    const visit = (path: string, trail: string[]) => {
      if (trail.includes(path)) circles.push([...trail.slice(trail.indexOf(path)), path].join(" → "));
      if (done.has(path) || trail.includes(path)) return;
      for (const target of graph.get(path) ?? []) visit(target, [...trail, path]);
      done.add(path);
    };
    for (const path of graph.keys()) visit(path, []);
    expect(circles).toEqual([]);
  });
});

/** The text without comments, so that a word in prose is no use of it. */
function code(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|[^:"'])\/\/.*$/gm, "$1");
}
