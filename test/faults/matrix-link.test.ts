import { expect } from "bun:test";
import { CLOSE, PING_INTERVAL_MS, PONG_TIMEOUT_MS, V2_GRACE_MS } from "../../src/protocol/limits.ts";
import type { CutKind, ProxiedConnection } from "../support/cutting-proxy.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { testRow, type Played } from "./matrix-row.ts";
import { CAPACITY, nothingLeft, Stage, type Ground } from "./matrix-stage.ts";
import { resumeAs } from "./matrix-stranger.ts";
import { startRig, type Rig, type RigOptions } from "./rig.ts";

// Faults of the link, in one process: their clocks can be moved there.

/** The time of both ends. */
class Clocks {
  readonly relay = new ManualClock();
  readonly worker = new ManualClock();

  advance(ms: number): void {
    this.relay.advance(ms);
    this.worker.advance(ms);
  }
}

interface Scene {
  rig: Rig;
  ground: Ground;
  stage: Stage;
  clocks: Clocks;
}

/**
 * Requests in each state over one link.
 *
 * @param time whether the test moves it
 */
async function setScene(time: "real" | "by hand", options: RigOptions = {}): Promise<Scene> {
  const clocks = new Clocks();
  const rig = await startRig({
    worker: { linkVersion: "auto", maxConcurrency: CAPACITY },
    ...(time === "by hand" && { relayClock: clocks.relay, workerClock: clocks.worker }),
    ...options,
    // A comment more in a stream would depend on how time is moved.
    relay: { sseKeepaliveMs: 0, ...options.relay },
  });
  const ground: Ground = { ...rig, link: () => linkOf(rig) };
  return { rig, ground, clocks, stage: await Stage.set(ground) };
}

function linkOf(rig: Rig): ProxiedConnection {
  const [link] = rig.linkProxy.open;
  if (link === undefined) throw new Error("The worker has no link");
  return link;
}

/** @param afterwards what must hold beside that nothing is left */
function played({ rig, stage, ground }: Scene, afterwards: () => unknown = () => {}): Played {
  return {
    stage,
    async afterwards() {
      await afterwards();
      await stage.servesOn();
      await nothingLeft(ground, 1);
    },
    async dispose() {
      await rig[Symbol.asyncDispose]();
    },
  };
}

/** The worker has the session with which it began. */
function keptSession({ rig }: Scene): void {
  const ends = rig.events.items.filter(({ kind }) => kind === "disconnected" || kind === "registered");
  expect(ends).toEqual([]);
}

/** The worker, whose session has ended, dials until it has another one. */
async function registersAgain({ rig, clocks }: Scene): Promise<void> {
  let told = "";
  while (told !== "registered") {
    // The wait between two dials is over.
    clocks.worker.advance(0);
    ({ kind: told } = await rig.events.next(({ kind }) => kind === "failed" || kind === "registered"));
  }
}

for (const [name, kind] of [
  ["fin", "close"],
  ["reset", "reset"],
] as const satisfies [string, CutKind][]) {
  testRow(name, async () => {
    const scene = await setScene("real");
    scene.rig.linkProxy.cut(kind);
    scene.stage.goOn();
    return played(scene, async () => {
      await scene.rig.events.next((event) => event.kind === "resumed");
      keptSession(scene);
    });
  });
}

testRow("silence", async () => {
  const scene = await setScene("by hand");
  const { rig, stage, clocks } = scene;
  rig.linkProxy.silence();
  stage.goOn();
  for (let silentFor = 0; silentFor < PONG_TIMEOUT_MS; silentFor += PING_INTERVAL_MS)
    clocks.advance(PING_INTERVAL_MS);
  return played(scene, async () => {
    await rig.events.next((event) => event.kind === "resumed");
    keptSession(scene);
  });
});

for (const [name, flow] of [
  ["delay", { delayMs: 500 }],
  ["throttle", { bytesPerSecond: 16 * 1024 }],
] as const) {
  testRow(name, async () => {
    const scene = await setScene("real");
    const { rig, stage } = scene;
    for (const way of [rig.linkProxy.up, rig.linkProxy.down]) Object.assign(way, flow);
    stage.goOn();
    return played(scene, () => {
      keptSession(scene);
      expect(rig.events.items.map((event) => event.kind)).not.toContain("suspended");
    });
  });
}

testRow("workerEndGone", async () => {
  const scene = await setScene("real");
  const older = linkOf(scene.rig);
  older.lose("client");
  scene.stage.goOn();
  return played(scene, async () => {
    await scene.rig.events.next((event) => event.kind === "resumed");
    keptSession(scene);
  });
});

testRow("relayEndGone", async () => {
  const scene = await setScene("by hand");
  const { rig, ground, stage, clocks } = scene;
  const heardFor = 10_000;
  clocks.advance(heardFor);
  linkOf(rig).lose("target");
  await ground.health<{ workers: { is_suspended: boolean }[] }>(
    ({ workers }) => workers[0]?.is_suspended === true,
  );
  clocks.advance(V2_GRACE_MS);
  await ground.health((health) => health["workers_connected"] === 0);
  clocks.advance(PONG_TIMEOUT_MS - heardFor - V2_GRACE_MS);
  await rig.events.next((event) => event.kind === "disconnected");
  await stage.cancelled();
  await registersAgain(scene);
  return played(scene);
});

testRow("strangers", async () => {
  const scene = await setScene("real");
  const { rig, stage } = scene;
  const [session] = rig.relay.relay.sessions.values();
  const id = session?.codec.resumption?.sessionId ?? "";
  const outcomes = [
    await resumeAs(rig.clientProxy.url, { session: id.slice(0, -1), received: 0 }),
    await resumeAs(rig.clientProxy.url, { session: id, received: 0 }, "another secret"),
    await resumeAs(rig.clientProxy.url, { session: id, received: 1_000_000 }),
  ];
  stage.goOn();
  return played(scene, () => {
    keptSession(scene);
    expect(outcomes).toEqual(["refused", "not let in", "closed with 1002"]);
    expect(rig.events.items.map((event) => event.kind)).not.toContain("suspended");
  });
});

testRow("duplicate", async () => {
  const scene = await setScene("by hand");
  const { rig, ground, stage, clocks } = scene;
  const [session] = rig.relay.relay.sessions.values();
  const id = session?.codec.resumption?.sessionId ?? "";
  const outcome = await resumeAs(rig.clientProxy.url, { session: id, received: 0 });
  const ended = await rig.events.next((event) => event.kind === "disconnected");
  await stage.cancelled();
  await registersAgain(scene);
  await ground.health<{ workers: { is_suspended: boolean }[] }>(({ workers }) =>
    workers.some(({ is_suspended }) => is_suspended),
  );
  clocks.advance(V2_GRACE_MS);
  return played(scene, () => {
    expect([outcome, ended]).toMatchObject(["resumed", { code: CLOSE.superseded }]);
  });
});

testRow("graceOver", async () => {
  const scene = await setScene("by hand");
  const { rig, ground, stage, clocks } = scene;
  rig.linkProxy.accepting = false;
  rig.linkProxy.cut("reset");
  await ground.health<{ workers: { is_suspended: boolean }[] }>(
    ({ workers }) => workers[0]?.is_suspended === true,
  );
  await rig.events.next((event) => event.kind === "suspended");
  clocks.advance(V2_GRACE_MS);
  await rig.events.next((event) => event.kind === "disconnected");
  await stage.cancelled();
  rig.linkProxy.accepting = true;
  await registersAgain(scene);
  return played(scene);
});
