/**
 * What a client sees of each fault, by how far its request had come. The tests of the matrix hold each
 * cell, and `docs/reliability.md` shows the table as it stands here.
 */

/** How far a request has come when the fault comes. */
export const STATES = ["queued", "sent", "head sent", "streaming", "last chunk", "done"] as const;
export type State = (typeof STATES)[number];

/** What became of one request. */
export interface Cell {
  /**
   * `whole`: the answer, byte by byte; `error event`: what had come, and then the error as the stream's
   * last event; `answer`: an error with a status; `broken`: a connection that ended too soon, with a part
   * of the answer or (`no answer`) with nothing.
   */
  sees: "whole" | "error event" | "answer" | "broken" | "no answer";
  status?: number;
  code?: string;
  /** Times that the backend was given the request. */
  runs: number;
}

export interface Fault {
  /** As the table names it. */
  title: string;
  cells: Record<State, Cell>;
}

const WHOLE: Cell = { sees: "whole", runs: 1 };
const AGAIN: Cell = { sees: "whole", runs: 2 };
const WORKER_LOST: Cell = { sees: "error event", code: "worker_lost", runs: 1 };
const BACKEND_LOST: Cell = { sees: "error event", code: "backend_unreachable", runs: 1 };
const BROKEN: Cell = { sees: "broken", runs: 1 };
const NO_ANSWER: Cell = { sees: "no answer", runs: 1 };

function answer(status: number, code: string, runs: number): Cell {
  return { sees: "answer", status, code, runs };
}

/** Nothing is lost. */
const ALL_WHOLE: Fault["cells"] = {
  queued: WHOLE,
  sent: WHOLE,
  "head sent": WHOLE,
  streaming: WHOLE,
  "last chunk": WHOLE,
  done: WHOLE,
};

/** The worker is given up: what had no byte of its body runs again. */
const LOSS_RULE: Fault["cells"] = {
  queued: WHOLE,
  sent: AGAIN,
  "head sent": AGAIN,
  streaming: WORKER_LOST,
  "last chunk": WORKER_LOST,
  done: WHOLE,
};

const RELAY_GONE: Fault["cells"] = {
  queued: { sees: "no answer", runs: 0 },
  sent: NO_ANSWER,
  "head sent": NO_ANSWER,
  streaming: BROKEN,
  "last chunk": BROKEN,
  done: WHOLE,
};

export const FAULTS = {
  fin: { title: "Link cut by FIN", cells: ALL_WHOLE },
  reset: { title: "Link cut by a reset", cells: ALL_WHOLE },
  silence: {
    title: "Link silent, and given up by both ends after 45 s",
    // What waits for a worker waits no longer than `--queue-timeout`.
    cells: { ...ALL_WHOLE, queued: answer(503, "queue_timeout", 0) },
  },
  delay: { title: "Link delayed by 500 ms each way", cells: ALL_WHOLE },
  throttle: { title: "Link losing packets: 16 KB/s are left", cells: ALL_WHOLE },
  workerEndGone: { title: "Half-open: only the worker's end of the link is gone", cells: ALL_WHOLE },
  relayEndGone: {
    title: "Half-open: only the relay's end is gone, and the worker hears of it after 45 s",
    // The queue's time is over before the worker is back.
    cells: { ...LOSS_RULE, queued: answer(503, "queue_timeout", 0) },
  },
  strangers: {
    title: "Connections that try to resume with a guessed id, a wrong secret or an impossible count",
    cells: ALL_WHOLE,
  },
  duplicate: {
    title: "A second connection resumes the same session, and leaves for good",
    cells: LOSS_RULE,
  },
  graceOver: { title: "Link cut for longer than the grace period", cells: LOSS_RULE },
  relayKilled: { title: "Relay `kill -9`, and started again", cells: RELAY_GONE },
  workerKilled: {
    title: "Worker `kill -9`, and started again: once the grace period is over",
    cells: LOSS_RULE,
  },
  workerKilledNoGrace: { title: "The same with `--link-grace 0`: at once", cells: LOSS_RULE },
  backendKilled: {
    title: "Backend `kill -9`",
    cells: {
      queued: answer(502, "backend_unreachable", 0),
      sent: answer(502, "backend_unreachable", 1),
      "head sent": answer(502, "backend_unreachable", 1),
      streaming: BACKEND_LOST,
      "last chunk": BACKEND_LOST,
      done: WHOLE,
    },
  },
  relayStopped: { title: "Relay stopped for 10 s (`SIGSTOP`)", cells: ALL_WHOLE },
  workerStopped: { title: "Worker stopped for 10 s", cells: ALL_WHOLE },
  backendStopped: { title: "Backend stopped for 10 s", cells: ALL_WHOLE },
  workerStoppedAndCut: {
    title: "Worker stopped, link cut meanwhile, for longer than the grace period",
    cells: LOSS_RULE,
  },
} satisfies Record<string, Fault>;
export type FaultName = keyof typeof FAULTS;

/** A cell in words. */
export function wordsOf({ sees, status, code, runs }: Cell): string {
  switch (sees) {
    case "whole":
      return runs === 1 ? "whole" : "whole, run again";
    case "error event":
      return `error event \`${code}\``;
    case "answer":
      return `${status} \`${code}\``;
    case "broken":
      return "connection broken";
    case "no answer":
      return "connection broken, no answer";
  }
}

/** The matrix as Markdown. */
export function markdownTable(): string {
  const row = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [
    row(["fault", ...STATES]),
    row(["---", ...STATES.map(() => "---")]),
    ...Object.values(FAULTS).map(({ title, cells }: Fault) =>
      row([title, ...STATES.map((state) => wordsOf(cells[state]))]),
    ),
  ].join("\n");
}
