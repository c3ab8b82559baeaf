import { isAbsolute, join } from "node:path";
import { parseArgs } from "node:util";
import { UsageError } from "../src/base/errors.ts";
import { type Scenario, allScenarios } from "./scenarios.ts";

export const USAGE = `Usage: bun run bench [options]

  --quick                 short windows, two rounds: under a minute, for a first look
  --only NAME[,NAME]      run only these scenarios
  --rounds N              measure each subject N times in each scenario
  --json FILE             write everything measured; a bare name goes to bench/results/
  --peer NAME=URL         measure this address too (repeatable); it must reach the backend
  --peer-pids NAME=PID[,PID]
                          processes of that peer, for its CPU and memory
  --binary NAME=PATH      measure another modelrelay executable too (repeatable)
  --floor                 measure the least that a relay and a worker can be (floor.ts), and nginx behind
                          nginx (chain), too
  --care                  measure the executable without keys, limits and usage (bare), and with all of
                          them (full), too
  --backend-port N        port of the backend, for peers started before the run (default: a free one)
  --help

MODELRELAY_BINARY names the executable to measure (default dist/modelrelay).
`;

export interface Peer {
  readonly name: string;
  readonly baseUrl: string;
  readonly pids: readonly number[];
}

export interface Options {
  readonly quick: boolean;
  readonly scenarios: readonly Scenario[];
  readonly jsonFile: string | undefined;
  readonly peers: readonly Peer[];
  readonly binaries: readonly { readonly name: string; readonly path: string }[];
  readonly floor: boolean;
  readonly care: boolean;
  readonly backendPort: number;
}

const RESULTS = join(import.meta.dir, "results");
const RESERVED = new Set(["direct", "nginx", "relay", "bare", "full", "floor", "chain"]);

function splitPair(flag: string, text: string): [name: string, value: string] {
  const at = text.indexOf("=");
  if (at < 1 || at === text.length - 1)
    throw new UsageError(`Cannot read ${flag}: "${text}"`, { action: `Write ${flag} NAME=VALUE` });
  return [text.slice(0, at), text.slice(at + 1)];
}

function readCount(flag: string, text: string, most: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > most) {
    throw new UsageError(`Cannot read ${flag}: "${text}"`, {
      action: `Give a whole number from 1 to ${most}`,
    });
  }
  return value;
}

function readUrl(name: string, text: string): string {
  const url = URL.parse(text);
  if (url === null || url.protocol !== "http:") {
    throw new UsageError(`Cannot read --peer ${name}: "${text}"`, {
      action: "Give an http:// address; the generator speaks plain HTTP/1.1",
    });
  }
  return url.href.replace(/\/$/, "");
}

function pickScenarios(all: Scenario[], only: string | undefined): Scenario[] {
  if (only === undefined) return all;
  const names = only.split(",").map((name) => name.trim());
  const unknown = names.find((name) => !all.some((scenario) => scenario.name === name));
  if (unknown !== undefined) {
    throw new UsageError(`Cannot run scenario "${unknown}" (--only)`, {
      action: `Choose from ${all.map(({ name }) => name).join(", ")}`,
    });
  }
  return all.filter(({ name }) => names.includes(name));
}

/** Reads the command line. @returns `undefined` when help was asked for @throws {UsageError} */
export function readOptions(args: string[]): Options | undefined {
  let values;
  try {
    ({ values } = parseArgs({
      args,
      options: {
        quick: { type: "boolean", default: false },
        only: { type: "string" },
        rounds: { type: "string" },
        json: { type: "string" },
        peer: { type: "string", multiple: true, default: [] },
        "peer-pids": { type: "string", multiple: true, default: [] },
        binary: { type: "string", multiple: true, default: [] },
        floor: { type: "boolean", default: false },
        care: { type: "boolean", default: false },
        "backend-port": { type: "string" },
        help: { type: "boolean", default: false },
      },
    }));
  } catch (error) {
    throw new UsageError(`Cannot read the command line: ${(error as Error).message}`, {
      action: "See bun run bench --help",
    });
  }
  if (values.help) return undefined;
  const pids = new Map(values["peer-pids"].map((text) => splitPair("--peer-pids", text)));
  const peers = values.peer.map((text) => {
    const [name, url] = splitPair("--peer", text);
    const own =
      pids
        .get(name)
        ?.split(",")
        .map((pid) => readCount("--peer-pids", pid, 2 ** 22)) ?? [];
    return { name, baseUrl: readUrl(name, url), pids: own };
  });
  const stray = [...pids.keys()].find((name) => !peers.some((peer) => peer.name === name));
  if (stray !== undefined) throw new UsageError(`Cannot use --peer-pids ${stray}: there is no such --peer`);
  const binaries = values.binary.map((text) => {
    const [name, path] = splitPair("--binary", text);
    return { name, path };
  });
  const names = [...peers, ...binaries].map(({ name }) => name);
  const taken = names.find(
    (name, i) => RESERVED.has(name) || !/^[\w.-]+$/.test(name) || names.indexOf(name) !== i,
  );
  if (taken !== undefined) {
    throw new UsageError(`Cannot name a subject "${taken}"`, {
      action: "Give each another name of letters, digits, dots and dashes",
    });
  }
  const { json } = values;
  return {
    quick: values.quick,
    scenarios: pickScenarios(
      allScenarios(
        values.quick,
        values.rounds === undefined ? undefined : readCount("--rounds", values.rounds, 100),
      ),
      values.only,
    ),
    jsonFile: json === undefined || json.includes("/") || isAbsolute(json) ? json : join(RESULTS, json),
    peers,
    binaries,
    floor: values.floor,
    care: values.care,
    backendPort:
      values["backend-port"] === undefined ? 0 : readCount("--backend-port", values["backend-port"], 65_535),
  };
}
