import { join } from "node:path";
import { readFileSync } from "node:fs";
import type { Outcome } from "../base/check-result.ts";
import { bad, doubtful, good, type Machine, type RelayHere } from "./context.ts";

/** Variables that decide what this program is, or whom it trusts, and what each does. */
const DANGEROUS: Readonly<Record<string, string>> = {
  BUN_OPTIONS: "adds options of the runtime, and with --preload code of others",
  BUN_BE_BUN: "makes the executable the bare runtime, which runs any script",
  LD_PRELOAD: "loads code of others into the program",
};

type Env = Readonly<Record<string, string | undefined>>;

/** What in the environment turns the program into something else; the relay that runs has one of its own. */
export function checkEnvironment(machine: Machine, running: RelayHere | undefined): Outcome[] {
  const relayEnv = running && environmentOf(machine, running.pid);
  const places: [target: string, env: Env][] = [
    ["", machine.env],
    ...(relayEnv === undefined ? [] : [["the relay that runs", relayEnv] as [string, Env]]),
  ];
  const found = places.flatMap(([target, env]) => troublesIn(target, env));
  if (found.length > 0) return found;
  return [good("", `no variable of ${Object.keys(DANGEROUS).join(", ")} is set`)];
}

function troublesIn(target: string, env: Env): Outcome[] {
  const outcomes = Object.entries(DANGEROUS)
    .filter(([name]) => env[name] !== undefined && env[name] !== "")
    .map(([name, does]) => {
      const unit = target === "" ? `unset ${name}` : `UnsetEnvironment=${name} in its unit, and restart it`;
      return bad(target, `${name} is set, which ${does}`, `Take it away: ${unit}`);
    });
  if (env["NODE_TLS_REJECT_UNAUTHORIZED"] !== "0") return outcomes;
  const details =
    "NODE_TLS_REJECT_UNAUTHORIZED=0 is set: links verify certificates all the same, other programs do not";
  return [...outcomes, doubtful(target, details, "Unset it; a private authority is named with --ca-file")];
}

/** The environment that a process was started with; `undefined` if it belongs to another user. */
export function environmentOf(
  { root }: Pick<Machine, "root">,
  pid: number,
): Readonly<Record<string, string>> | undefined {
  try {
    const text = readFileSync(join(root, "proc", String(pid), "environ"), "utf8");
    return Object.fromEntries(
      text
        .split("\0")
        .filter((entry) => entry.includes("="))
        .map((entry) => [entry.slice(0, entry.indexOf("=")), entry.slice(entry.indexOf("=") + 1)]),
    );
  } catch {
    return undefined;
  }
}
