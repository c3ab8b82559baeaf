// 1,000 idle workers and 2,000 paced streams at once on one relay, each byte checked. It takes both cores of
// a small machine, which is why no test does it at this size. By hand:
//
//     bun run build && bun test/scale/run.ts [idle] [streams] [events] [gap in ms]

import { formatBytes } from "../../src/base/bytes.ts";
import type { Holdings } from "./fleet.ts";
import { runScale } from "./load.ts";

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function said({ memory, peak, sockets }: Holdings): string {
  return `${formatBytes(memory)} (at most ${formatBytes(peak)}), ${sockets} sockets`;
}

const [idle = 1_000, streams = 2_000, events = 60, gapMs = 500] = process.argv.slice(2).map(Number);
const result = await runScale({ idle, streams, workers: 2, events, gapMs });
const { relay, worker, left } = result;
print(`relay alone          ${said(relay.alone)}`);
print(`+ ${idle} idle workers ${said(relay.withIdle)}`);
print(`+ ${streams} streams    ${said(relay.streaming)}`);
print(`after them           ${said(relay.after)}`);
print(`one of two workers   ${said(worker)}`);
print(
  `streams: ${result.wrong.length} wrong of ${streams}, ${result.atOnce} at once, ${(result.tookMs / 1_000).toFixed(1)} s for ${((events * gapMs) / 1_000).toFixed(1)} s of pace`,
);
print(`left: ${JSON.stringify(left)}`);
process.exit(result.wrong.length === 0 ? 0 : 1);
