import { startTestWorker } from "../worker/started-worker.ts";
import { BinaryProgram } from "../scale/fleet.ts";
import { SECRET } from "../support/relays.ts";
import type { WorkerKind } from "./worker-promises.ts";

const inProcess: WorkerKind = {
  name: "in process",
  start: (relayUrl, backendUrl, settings) =>
    startTestWorker(
      { url: relayUrl },
      { url: backendUrl },
      {
        workerSecret: SECRET,
        workerName: "w",
        linkVersion: "auto",
        ...settings,
      },
    ),
};

const builtBinary: WorkerKind = {
  name: "built binary",
  start: (relayUrl, backendUrl, { maxConcurrency = 1, compress = false }) =>
    new BinaryProgram("worker", [
      `--proxy-url=${relayUrl}`,
      `--backend-url=${backendUrl}`,
      "--worker-name=w",
      `--max-concurrency=${maxConcurrency}`,
      ...(compress ? ["--compress"] : []),
    ]),
};

export const workerKinds: readonly WorkerKind[] = [inProcess, builtBinary];
