import { waitsFor } from "../base/service-manager.ts";
import type { WorkerStatus } from "../worker/index.ts";

/**
 * What a worker does, in a line for whoever looks after services.
 *
 * @param isCut whether its connection is lost, while the relay still waits for it
 */
export function workerStatus({ state, relay, models, backend }: WorkerStatus, isCut = false): string {
  const { host } = new URL(relay);
  if (state === "draining") return "Finishes what runs, for a relay that restarts";
  if (isCut || state !== "ready") return waitsFor(`a link to ${host}`);
  if (backend.url === undefined) return `Connected to ${host}; found no inference server yet`;
  if (!backend.up) return `Connected to ${host}; ${backend.url} does not answer`;
  return `Connected to ${host}; offers ${models.length} ${models.length === 1 ? "model" : "models"} of ${backend.url}`;
}
