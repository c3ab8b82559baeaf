import { hasRoom, loadOf, type CoreWorker } from "./registry.ts";

/** What the workers that offer a model can do for a request. */
export type Choice =
  | { kind: "worker"; worker: CoreWorker }
  /** Somebody could serve it, but has no room now. */
  | { kind: "wait" }
  /** Everybody who offers the model has a link that cannot carry the request. */
  | { kind: "cannot_carry" }
  | { kind: "nobody" };

/**
 * Picks the worker for a request: lowest load first, ties in turn, never above `maxConcurrent`. A
 * resting worker is passed over while another one offers the model, even a busy one.
 */
export function chooseWorker(offering: Iterable<CoreWorker>, needs: number, now: number): Choice {
  let best: CoreWorker | undefined;
  let bestResting: CoreWorker | undefined;
  let offered = false;
  let able = false;
  let awake = false;
  for (const worker of offering) {
    if (worker.draining) continue;
    offered = true;
    if ((needs & ~worker.carries) !== 0) continue;
    able = true;
    const resting = worker.restUntil > now;
    if (!resting) awake = true;
    if (!hasRoom(worker)) continue;
    if (resting) {
      if (isBetter(worker, bestResting)) bestResting = worker;
    } else if (isBetter(worker, best)) {
      best = worker;
    }
  }
  const picked = awake ? best : bestResting;
  if (picked !== undefined) return { kind: "worker", worker: picked };
  if (able) return { kind: "wait" };
  return { kind: offered ? "cannot_carry" : "nobody" };
}

/** Whether somebody else than this one could be asked, who does not rest. */
export function othersAwake(
  offering: Iterable<CoreWorker>,
  needs: number,
  than: CoreWorker,
  now: number,
): boolean {
  for (const worker of offering) {
    const able = !worker.draining && (needs & ~worker.carries) === 0;
    if (worker !== than && able && worker.restUntil <= now) return true;
  }
  return false;
}

function isBetter(worker: CoreWorker, best: CoreWorker | undefined): boolean {
  if (best === undefined) return true;
  const difference = loadOf(worker) - loadOf(best);
  return difference < 0 || (difference === 0 && worker.lastTurn < best.lastTurn);
}
