import { expect } from "bun:test";
import { BackendProcess, startMatrixFleet, type MatrixFleet } from "./matrix-fleet.ts";
import { testRow, type Played } from "./matrix-row.ts";
import { nothingLeft, Stage } from "./matrix-stage.ts";

// Faults of processes, with the executable.

/** For how long a process is stopped, in ms. The table's 10 s with MODELRELAY_STOP_MS=10000. */
const STOP_MS = Number(process.env["MODELRELAY_STOP_MS"] ?? 1_000);
/** Long enough for a worker to come back in, short enough to wait for. */
const SHORT_GRACE = "--link-grace=1s";

/** @param afterwards what must hold beside that nothing is left */
function played(
  fleet: MatrixFleet,
  stage: Stage,
  afterwards: () => unknown = () => {},
  backend?: BackendProcess,
): Played {
  return {
    stage,
    async afterwards() {
      await afterwards();
      await stage.servesOn();
      await nothingLeft(fleet.ground, 1);
    },
    async dispose() {
      await fleet[Symbol.asyncDispose]();
      await backend?.[Symbol.asyncDispose]();
    },
  };
}

testRow("relayKilled", async () => {
  const fleet = await startMatrixFleet();
  const stage = await Stage.set(fleet.ground);
  fleet.relay.signal("SIGKILL");
  await fleet.relay.exited;
  await fleet.relayAgain();
  await stage.cancelled();
  return played(fleet, stage, async () => {
    await fleet.ground.health((health) => health["workers_connected"] === 1);
    expect(fleet.worker.log).toContain("the relay does not go on");
  });
});

for (const [name, grace] of [
  ["workerKilled", SHORT_GRACE],
  ["workerKilledNoGrace", "--link-grace=0"],
] as const) {
  testRow(name, async () => {
    const fleet = await startMatrixFleet([grace]);
    const stage = await Stage.set(fleet.ground);
    fleet.worker.signal("SIGKILL");
    await fleet.worker.exited;
    await stage.cancelled();
    fleet.workerAgain();
    return played(fleet, stage, () => {
      const waited = fleet.relay.log.includes("its requests wait for it to come back");
      expect(waited).toBe(name === "workerKilled");
    });
  });
}

testRow("backendKilled", async () => {
  const backend = new BackendProcess();
  const fleet = await startMatrixFleet([], backend);
  const stage = await Stage.set(fleet.ground);
  backend.signal("SIGKILL");
  return {
    ...played(fleet, stage, () => {}, backend),
    async afterwards() {
      await nothingLeft(fleet.ground, 1);
      // Without its backend the worker offers nothing, over the same link.
      await fleet.ground.health<{ workers: { models: string[] }[] }>(
        ({ workers }) => workers[0]?.models.length === 0,
      );
      expect(fleet.worker.log).not.toContain("The connection to the relay is lost");
    },
  };
});

/** Stops one process while the backend goes on, as far as it can. */
async function stop(stage: Stage, target: { signal(name: "SIGSTOP" | "SIGCONT"): void }): Promise<void> {
  target.signal("SIGSTOP");
  stage.goOn();
  // The fault is a length of time: there is nothing to wait for but its end.
  await Bun.sleep(STOP_MS);
  target.signal("SIGCONT");
}

function staysConnected({ relay, worker }: MatrixFleet): void {
  expect(relay.log).not.toContain("connection is lost");
  expect(worker.log).not.toContain("is lost");
}

for (const name of ["relayStopped", "workerStopped"] as const) {
  testRow(name, async () => {
    const fleet = await startMatrixFleet();
    const stage = await Stage.set(fleet.ground);
    await stop(stage, name === "relayStopped" ? fleet.relay : fleet.worker);
    return played(fleet, stage, () => staysConnected(fleet));
  });
}

testRow("backendStopped", async () => {
  const backend = new BackendProcess();
  const fleet = await startMatrixFleet([], backend);
  const stage = await Stage.set(fleet.ground);
  await stop(stage, backend);
  return played(fleet, stage, () => staysConnected(fleet), backend);
});

testRow("workerStoppedAndCut", async () => {
  const fleet = await startMatrixFleet([SHORT_GRACE]);
  const { ground, worker, link } = fleet;
  const stage = await Stage.set(ground);
  worker.signal("SIGSTOP");
  link.cut("reset");
  await ground.health((health) => health["workers_connected"] === 0);
  worker.signal("SIGCONT");
  await stage.cancelled();
  return played(fleet, stage, () => {
    expect(worker.log).toContain("the relay does not go on");
  });
});
