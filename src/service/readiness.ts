import type { Clock } from "../base/clock.ts";
import { wait } from "../base/wait.ts";
import type { ServiceId, ServiceState, Supervisor } from "./service.ts";

/** How often the supervisor is asked. */
const LOOK_MS = 200;
/** Where a supervisor knows only that a process runs, it has to run this long to count. */
const SETTLED_MS = 2_000;

export interface Waiting {
  clock: Clock;
  timeoutMs: number;
  /** Process that ran before; only another one counts. */
  before?: number | undefined;
  /** Told of each state that is not yet the end. */
  onState?: (state: ServiceState) => void;
}

export interface Waited {
  /** Whether it serves. */
  isReady: boolean;
  state: ServiceState;
}

/** Waits until a service serves, has failed, or the time is over. */
export async function waitUntilReady(
  id: ServiceId,
  supervisor: Pick<Supervisor, "state" | "hearsReadiness">,
  { clock, timeoutMs, before, onState }: Waiting,
): Promise<Waited> {
  const deadline = clock.now() + timeoutMs;
  let runsSince: number | undefined;
  for (;;) {
    const state = await supervisor.state(id);
    const isOther = before === undefined || (state.pid !== undefined && state.pid !== before);
    if (state.state !== "running") runsSince = undefined;
    else runsSince ??= clock.now();
    const isSettled =
      supervisor.hearsReadiness || (runsSince !== undefined && clock.now() - runsSince >= SETTLED_MS);
    if (state.state === "running" && isOther && isSettled) return { isReady: true, state };
    const hasFailed = ["failed", "stopped", "restarting"].includes(state.state);
    if (hasFailed || clock.now() >= deadline) return { isReady: false, state };
    onState?.(state);
    await wait(clock, LOOK_MS);
  }
}
