// How systemd reads a word of ExecStart= (systemd.service(5), "Command lines") and a value of an
// EnvironmentFile= (systemd.exec(5)). Neither is a shell.

/** What stands in a word as it is. */
const PLAIN = /^[\w@+=:,./*-]+$/;

/** One word of a command line in a unit, of which nothing but the words after the program can be variables. */
function unitWord(text: string): string {
  return unitPath(text).replaceAll("$", () => "$$");
}

export function unitCommand([program = "", ...words]: readonly string[]): string {
  return [unitPath(program), ...words.map(unitWord)].join(" ");
}

/** A path of a setting such as ReadWritePaths=, which takes several. */
export function unitPath(path: string): string {
  // A specifier would be put in place inside quotes as well.
  const literal = unitRest(path);
  if (PLAIN.test(path)) return literal;
  return `"${literal.replaceAll("\\", String.raw`\\`).replaceAll('"', String.raw`\"`)}"`;
}

/** Text of a setting such as EnvironmentFile=, which takes the rest of the line as it is. */
export function unitRest(text: string): string {
  return text.replaceAll("%", "%%");
}

/** A line of an environment file. @param value on one line */
export function variableLine(name: string, value: string): string {
  return /^[\w@%+=:,./-]+$/.test(value)
    ? `${name}=${value}`
    : `${name}="${value.replace(/["\\$`]/g, "\\$&")}"`;
}

/**
 * An environment file with some variables set anew: their lines are replaced, everything else in the file
 * stays as it is, and what is new comes at the end.
 */
export function withVariables(content: string, variables: Readonly<Record<string, string>>): string {
  const left = new Map(Object.entries(variables));
  const kept = content
    .split("\n")
    .filter((line) => !left.has(/^\s*(\w+)\s*=/.exec(line)?.[1] ?? ""))
    .join("\n")
    .replace(/\n*$/, "");
  const added = [...left].map(([name, value]) => `${variableLine(name, value)}\n`).join("");
  return `${kept === "" ? "" : `${kept}\n`}${added}`;
}

/** The variables of an environment file, as far as a person would write one: a value on one line. */
export function readVariables(content: string): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const line of content.split("\n")) {
    const match = /^\s*(\w+)\s*=\s*(.*?)\s*$/.exec(line);
    if (match !== null) variables[match[1] ?? ""] = unquoted(match[2] ?? "");
  }
  return variables;
}

function unquoted(value: string): string {
  if (/^'.*'$/.test(value)) return value.slice(1, -1);
  if (/^".*"$/.test(value)) return value.slice(1, -1).replace(/\\(["\\$`])/g, "$1");
  return value.replace(/\\(.)/g, "$1");
}
