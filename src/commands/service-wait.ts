import { systemClock } from "../base/clock.ts";
import { formatDuration } from "../base/duration.ts";
import { Problem } from "../base/errors.ts";
import {
  serviceTitle,
  waitUntilReady,
  type Machine,
  type ServiceId,
  type Supervisor,
} from "../service/index.ts";
import type { Terminal } from "./command.ts";
import { startProgress } from "./progress.ts";
import { lastLines, stateText } from "./service-shared.ts";

const SHOWN_LINES = 15;
/** Enough for all that a relay says at its start. */
const START_LINES = 60;

export interface ReadyWait {
  machine: Machine;
  supervisor: Supervisor;
  terminal: Terminal;
  timeoutMs: number;
  /** Process that ran before a restart. */
  before?: number | undefined;
}

/**
 * Waits until a service serves, and says what it then does.
 *
 * @throws {Problem} if it does not; the last lines of its log have been shown by then
 */
export async function showReady(id: ServiceId, wait: ReadyWait): Promise<void> {
  const { machine, supervisor, terminal, timeoutMs, before } = wait;
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
  const logs = `modelrelay service logs ${serviceTitle(id)}`;
  if (!isReady) {
    const lines = await lastLines({ machine, supervisor }, id, SHOWN_LINES);
    if (lines.length > 0)
      terminal.err(`The last lines of its log:\n${lines.map((line) => `  ${line}\n`).join("")}`);
    const waited = formatDuration(Math.round((systemClock.now() - began) / 1_000) * 1_000);
    const what =
      state.state === "running" ? "the process that ran before still does" : `it ${stateText(state)}`;
    throw new Problem(`Cannot see ${unit} serve after ${waited}: ${what.replace(/^it Waits/, "it waits")}`, {
      action: `It stays installed. More of its log: ${logs}; undo with: modelrelay service uninstall ${serviceTitle(id)}`,
    });
  }
  await terminal.out(`${unit}: ${stateText(state)}\n`);
  for (const line of await lastLines({ machine, supervisor }, id, START_LINES)) {
    if (before === undefined && /^(Workers|Clients|Each client|Other machines) /.test(line))
      terminal.err(`${line}\n`);
  }
}
