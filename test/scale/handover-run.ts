import { listenersOn, startHandedOver, type HandedOver } from "../e2e/handed-over.ts";
import { waitFor } from "../e2e/tls-relay.ts";

// What docs/upgrade.md says of handovers, measured: `bun test/scale/handover-run.ts [handovers] [streams]`, with
// the executable built before. Prints a line for each handover, and what became of all connections and streams.

const [handovers = 10, streams = 200] = process.argv.slice(2).map(Number);
const AT_ONCE = 8;

interface Asked {
  tried: number;
  slowestMs: number;
  others: Record<string, number>;
}

/** Connects anew for each request, to what needs no worker, as often as it can. */
function ask({ url }: HandedOver): { asked: Asked; stop: () => Promise<void> } {
  const asked: Asked = { tried: 0, slowestMs: 0, others: {} };
  let stopped = false;
  const loops = Array.from({ length: AT_ONCE }, async () => {
    for (;;) {
      if (stopped) return;
      asked.tried++;
      const begun = performance.now();
      let other = "";
      try {
        const init = { keepalive: false, tls: { rejectUnauthorized: false } };
        const response = await fetch(`${url}/livez`, init);
        if ((await response.text()) !== '{"status":"ok"}') other = String(response.status);
      } catch (error) {
        other = String(error);
      }
      asked.slowestMs = Math.max(asked.slowestMs, performance.now() - begun);
      if (other !== "") asked.others[other] = (asked.others[other] ?? 0) + 1;
    }
  });
  return {
    asked,
    stop: async () => {
      stopped = true;
      await Promise.all(loops);
    },
  };
}

const TLS = ["--tls-self-signed", "--https-port=127.0.0.1:0", "--http-port=off"];

for (const secure of [false, true]) {
  const name = secure ? "HTTPS" : "HTTP";
  await using rig = await startHandedOver(secure ? { listen: false, serve: TLS } : {});
  const running = Array.from({ length: streams }, (_, at) => rig.stream(`u${at}`));
  await waitFor("the streams", () => Promise.resolve(rig.backend.streams === streams));
  const { asked, stop } = ask(rig);
  for (let turn = 1; turn <= handovers; turn++) {
    const before = asked.tried;
    const { ms } = await rig.handOver();
    await rig.arrived();
    process.stdout.write(
      `${name} ${turn}: taken over after ${Math.round(ms)} ms, ${asked.tried - before} connections in that time\n`,
    );
  }
  await stop();
  rig.backend.finish();
  const whole = (await Promise.all(running)).filter(Boolean).length;
  await waitFor("one listener", () => Promise.resolve(listenersOn(rig.port) === 1));
  process.stdout.write(
    `${name}: ${handovers} handovers, ${asked.tried} connections, not answered ${JSON.stringify(asked.others)}, slowest ${Math.round(asked.slowestMs)} ms; ${streams} streams, ${streams - whole} cut\n`,
  );
}
process.exit();
