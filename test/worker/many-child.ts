import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { startWorker } from "../../src/worker/index.ts";
import { SECRET } from "./fake-relay.ts";

/** A worker in a process of its own, whose environment sets no limits. */
const [proxyUrl = "", backendUrl = "", maxConcurrency = ""] = process.argv.slice(2);
const worker = startWorker(
  {
    proxyUrl,
    workerSecret: SECRET,
    backendUrl,
    models: { all: true, names: [] },
    workerName: "many",
    maxConcurrency: Number(maxConcurrency),
    provider: "local",
    linkVersion: "v1",
    drainTimeoutMs: 10_000,
    firstByteTimeoutMs: 0,
    idleTimeoutMs: 0,
  },
  { clock: systemClock, log: silentLog },
);
process.on("SIGTERM", () => void worker.drain());
const { code } = await worker.closed;
process.exitCode = code;
