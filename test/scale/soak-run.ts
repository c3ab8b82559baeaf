// Mixed traffic with cuts for an hour: what relay and workers hold at rest must not grow. By hand:
//
//     bun run build && bun test/scale/soak-run.ts [minutes]

import { formatBytes } from "../../src/base/bytes.ts";
import type { Holdings } from "./fleet.ts";
import { runSoak } from "./soak.ts";

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function said({ memory, sockets, files }: Holdings): string {
  return `${formatBytes(memory)}, ${sockets} sockets, ${files} files`;
}

const [minutes = 60] = process.argv.slice(2).map(Number);
const rounds = 6;
const wrong: string[] = [];
await runSoak(
  Math.min(60_000, minutes * 10_000),
  Array.from({ length: rounds }, () => (minutes * 60_000) / rounds),
  (tally, { relay, workers }) => {
    wrong.push(...tally.wrong);
    print(
      `${tally.whole} whole, ${tally.left} left, ${tally.cuts} cuts, ${tally.wrong.length} wrong; at rest: relay ${said(relay)}; workers ${workers.map(said).join("; ")}`,
    );
  },
);
for (const line of wrong.slice(0, 20)) print(line);
process.exit(wrong.length === 0 ? 0 : 1);
