import { systemClock } from "../base/clock.ts";
import { formatDuration } from "../base/duration.ts";
import { Problem } from "../base/errors.ts";
import { wait } from "../base/wait.ts";
import {
  serviceTitle,
  waitUntilReady,
  type Machine,
  type ServiceId,
  type ServiceState,
  type Supervisor,
} from "../service/index.ts";
import type { Terminal } from "./command.ts";
import { startProgress } from "./progress.ts";
import { lastLines, stateText } from "./service-shared.ts";

const SHOWN_LINES = 15;
/** Enough for all that a relay says at its start. */
const START_LINES = 60;
/** What to type next, as `serve` says it at its start. */
const HINT = /^(Workers|Clients|Each client|Other machines) /;
/** A log may be a little behind the service. */
const HINT_TRIES = 10;
const HINT_GAP_MS = 100;

export interface ReadyWait {
  machine: Machine;
  supervisor: Supervisor;
  terminal: Terminal;
  timeoutMs: number;
  /** Process that ran before a restart; only another one counts. */
  before?: number | undefined;
}

/**
 * Waits until a service serves, and says what it then does.
 *
 * @throws {Problem} if it does not; the last lines of its log have been shown by then
 */
export async function showReady(id: ServiceId, ready: ReadyWait): Promise<ServiceState> {
  const { supervisor, terminal, timeoutMs, before } = ready;
  const unit = supervisor.unitName(id);
  const began = systemClock.now();
  const { isReady, state } = await (async () => {
    using progress = startProgress(systemClock, terminal, (text) => terminal.err(`${text}\n`));
    return waitUntilReady(id, supervisor, {
      clock: systemClock,
      timeoutMs,
      before,
      onState: (seen) => progress.show([`${unit}: ${stateText(seen)}`]),
    });
  })();
  if (isReady) {
    await terminal.out(`${unit}: ${stateText(state)}\n`);
    return state;
  }
  const lines = await lastLines(ready, id, { start: state.start, lines: SHOWN_LINES });
  if (lines.length > 0)
    terminal.err(`The last lines of its log:\n${lines.map((line) => `  ${line}\n`).join("")}`);
  const waited = formatDuration(Math.ceil((systemClock.now() - began) / 1_000) * 1_000);
  const what =
    state.state === "running"
      ? "the process that ran before still does"
      : `it ${lowerFirst(stateText(state))}`;
  throw new Problem(`Cannot see ${unit} serve after ${waited}: ${what}`, {
    action: `It stays installed. More of its log: modelrelay service logs ${serviceTitle(id)}; undo with: modelrelay service uninstall ${serviceTitle(id)}`,
  });
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** Repeats what a relay has said at its start about workers and clients. */
export async function showHints(
  id: ServiceId,
  { start }: ServiceState,
  ready: Pick<ReadyWait, "machine" | "supervisor" | "terminal">,
): Promise<void> {
  for (let tries = 0; tries < HINT_TRIES; tries++) {
    const lines = await lastLines(ready, id, { start, lines: START_LINES });
    const hints = lines.filter((line) => HINT.test(line));
    for (const hint of hints) ready.terminal.err(`${hint}\n`);
    if (hints.length > 0) return;
    await wait(systemClock, HINT_GAP_MS);
  }
}
