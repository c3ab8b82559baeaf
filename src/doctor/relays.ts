import type { Outcome } from "../base/check-result.ts";
import { version } from "../base/build-info.ts";
import { formatSeconds } from "../base/duration.ts";
import { messageOf } from "../base/errors.ts";
import { oneLine } from "../base/one-line.ts";
import { bad, doubtful, good, skipped, type Machine, type RelayHere } from "./context.ts";
import { programOf } from "./port-holder.ts";

/** What a relay says at `/health` and `/readyz`. */
export interface RelayAnswer {
  version: string;
  uptimeSecs: number;
  ready: boolean;
  /** Why it is not ready, and what else is not as it should be. */
  troubles: readonly string[];
  /** Its clock, as the `Date` of its answer has it; `undefined` if there is none. */
  dateMs: number | undefined;
  /** This machine's clock when it was asked, and when the answer was there. */
  askedMs: number;
  answeredMs: number;
}

/** @throws if nothing answers as a relay does */
export type AskRelay = (url: string) => Promise<RelayAnswer>;

/** The relay that runs on this machine, and whether it is the program that is installed. */
export async function checkRelayHere(
  machine: Machine,
  running: RelayHere | undefined,
  dataDir: string,
  ask: AskRelay,
): Promise<Outcome> {
  if (running === undefined) return skipped("", `none runs with the data directory ${dataDir}`);
  const target = running.url;
  let answer: RelayAnswer;
  try {
    answer = await ask(running.url);
  } catch (error) {
    return bad(
      target,
      `process ${running.pid} does not answer: ${oneLine(messageOf(error))}`,
      "Look into its log, and restart it: modelrelay service restart",
    );
  }
  const details = `process ${running.pid}, version ${oneLine(answer.version, 40)}, up ${formatSeconds(answer.uptimeSecs)}`;
  if (answer.version !== version || programOf(machine, running.pid)?.endsWith(" (deleted)") === true) {
    const newer = `${details}, while version ${version} is installed`;
    return doubtful(target, newer, "Restart it: modelrelay service restart");
  }
  return judgeReadiness(target, details, answer);
}

function judgeReadiness(target: string, details: string, { ready, troubles }: RelayAnswer): Outcome {
  const told = troubles.map((trouble) => oneLine(trouble)).join("; ");
  if (!ready) return bad(target, `${details}, not ready: ${told}`, "Look into its log");
  if (told === "") return good(target, `${details}, ready`);
  return doubtful(target, `${details}, ready, but ${told}`, "See what runs with: modelrelay status");
}

/** The relay that a worker of this machine dials. */
export function judgeDialled(url: string, answer: RelayAnswer | Error): Outcome {
  if (answer instanceof Error) {
    return bad(url, oneLine(messageOf(answer)), "Look closer with: modelrelay worker --check");
  }
  const theirs = oneLine(answer.version, 40);
  if (theirs === version) return good(url, `version ${theirs}, as here`);
  const details = `version ${theirs}, and ${version} here; they work together`;
  return doubtful(url, details, "Bring the older end up to date: modelrelay update");
}
