import { statSync } from "node:fs";
import { join } from "node:path";
import { commit, platform as builtFor, version } from "../base/build-info.ts";
import { formatBytes } from "../base/bytes.ts";
import type { Outcome } from "../base/check-result.ts";
import { messageOf } from "../base/errors.ts";
import { StoreError } from "../server/store/store-error.ts";
import { DATABASE_FILE, openStore } from "../server/store/store.ts";
import { checkClock } from "./clock-step.ts";
import {
  bad,
  doubtful,
  good,
  skipped,
  why,
  AS_USER,
  type DoctorResult,
  type DoctorStep,
  type Machine,
  type RelayHere,
} from "./context.ts";
import { databaseSteps, notOpened } from "./database.ts";
import { checkDisk } from "./disk.ts";
import { checkEnvironment } from "./environment.ts";
import { checkFiles, checkFolder, checkSecretFiles, type SecretFile } from "./folder.ts";
import { checkPort, type WantedPort } from "./ports.ts";
import { checkProxies, type Asked } from "./proxies.ts";
import { checkRelayHere, judgeDialled, type AskRelay, type RelayAnswer } from "./relays.ts";
import { checkMemory, checkOpenFiles, type Demand } from "./resources.ts";

export { DOCTOR_STEPS, type DoctorResult, type DoctorStep, type Machine } from "./context.ts";

/** What a relay on this machine uses. */
export interface RelayPlan {
  dataDir: string;
  /** PostgreSQL; the database is a file in the data directory if absent. */
  databaseUrl: string | undefined;
  ports: readonly WantedPort[];
}

export interface Examination {
  /** What was found of the settings, before anything else could be looked at. */
  settings: readonly Outcome[];
  secretFiles: readonly SecretFile[];
  demand: Demand;
  asked: readonly Asked[];
  running: RelayHere | undefined;
  /** Absent on a machine that has a worker alone. */
  relay: RelayPlan | undefined;
  /** The relay that a worker here dials; absent where none does. */
  dialled: { url: string; ask: AskRelay } | undefined;
  /** Asks the relay of this machine. */
  ask: AskRelay;
}

/** A database of that size is not read from end to end by the way. */
const LARGE_DATABASE_BYTES = 1024 ** 3;

/**
 * Looks at a machine for what keeps a relay or a worker from running well on it. Never rejects. Nothing is
 * changed, and nobody outside is asked but the relay that is named.
 *
 * @param onResult called as each result comes
 */
export async function examine(
  machine: Machine,
  { settings, secretFiles, demand, asked, running, relay, dialled, ask }: Examination,
  onResult: (result: DoctorResult) => void = () => {},
): Promise<DoctorResult[]> {
  const results: DoctorResult[] = [];
  const add = (result: DoctorResult): void => {
    results.push(result);
    onResult(result);
  };
  const run = async (
    step: DoctorStep,
    look: () => Outcome | readonly Outcome[] | Promise<Outcome>,
  ): Promise<void> => {
    let found: Outcome | readonly Outcome[];
    try {
      found = await look();
    } catch (error) {
      found = bad("", `cannot be looked at: ${why(error)}`, AS_USER);
    }
    for (const outcome of [found].flat()) add({ step, ...outcome });
  };

  await run("program", () => checkProgram(machine));
  await run("settings", () => settings);
  await run("secret files", () => checkSecretFiles(machine, secretFiles));
  await run("environment", () => checkEnvironment(machine, running));
  await run("proxies", () => checkProxies(machine, asked));
  await run("memory", () => checkMemory(machine, demand, running));
  await run("open files", () => checkOpenFiles(machine, demand, running));
  if (relay !== undefined)
    await run("relay here", () => checkRelayHere(machine, running, relay.dataDir, ask));
  let answer: RelayAnswer | Error | undefined;
  if (dialled !== undefined) {
    const { url } = dialled;
    const said = await dialled
      .ask(url)
      .catch((error: unknown) => new Error(messageOf(error), { cause: error }));
    answer = said;
    await run("relay dialled", () => judgeDialled(url, said));
  }
  const seen = answer instanceof Error ? undefined : answer;
  await run("clock", () => checkClock(machine, relay?.dataDir, seen));
  if (relay === undefined) return results;

  for (const port of relay.ports) await run("port", () => checkPort(machine, port, running));
  await run("data directory", () => checkFolder(machine, relay.dataDir, running));
  await run("files in it", () => checkFiles(machine, relay.dataDir, running));
  await run("disk", () => checkDisk(relay.dataDir));
  for (const result of await checkDatabase(machine, relay)) add(result);
  return results;
}

/** The executable, and whether it is the one that is run by its name. */
function checkProgram({ env }: Machine): Outcome {
  const details = `modelrelay ${version} (${commit}, ${builtFor})`;
  const named = Bun.which("modelrelay", { PATH: env["PATH"] ?? "" });
  const here = process.execPath;
  // Run from its sources, the executable is the runtime.
  if (named === null || commit === "dev" || isSame(named, here)) return good(here, details);
  return doubtful(
    here,
    `${details}; the name modelrelay leads to ${named}`,
    "Remove one of the two, or change their order in PATH",
  );
}

function isSame(one: string, other: string): boolean {
  const [first, second] = [statSync(one), statSync(other)];
  return first.ino === second.ino && first.dev === second.dev;
}

async function checkDatabase(
  { clock }: Machine,
  { dataDir, databaseUrl: url }: RelayPlan,
): Promise<DoctorResult[]> {
  const told = (outcome: Outcome): DoctorResult[] => [{ step: "database", ...outcome }];
  const file = join(dataDir, DATABASE_FILE);
  try {
    const bytes = url === undefined ? statSync(file, { throwIfNoEntry: false })?.size : 0;
    if (bytes === undefined) return told(skipped(file, "not there yet: the first start of serve makes it"));
    if (bytes > LARGE_DATABASE_BYTES) {
      const details = `${formatBytes(bytes)}, too much to be read by the way; look at it with: modelrelay db check`;
      return told(skipped(file, details));
    }
    // Without a log: what is wrong is told here.
    await using store = await openStore({ dataDir, url, purpose: "inspect" }, { clock });
    // The disk has a step of its own.
    return databaseSteps(await store.check()).flatMap(({ step, ...rest }) =>
      step === "space" ? [] : [{ step, ...rest }],
    );
  } catch (error) {
    if (error instanceof StoreError) return [notOpened(error)];
    return told(bad(file, `cannot be looked at: ${why(error)}`, AS_USER));
  }
}
