// Handshakes as fast as the machine can make them, across ten changes of the certificate: none may be refused.
// It takes half a minute of the whole machine, which is why no test does it at this length. By hand:
//
//     bun run build && bun test/long/handshakes.ts [seconds]
//
// With the last word `knock` this is one of the clients.

import { connect } from "node:tls";
import { formatDuration } from "../../src/base/duration.ts";
import { A, renew, serveDomains, startAuthority } from "../e2e/tls-relay.ts";

const CHANGES = 10;
const CLIENTS = 2;
/** Handshakes that each client has under way. */
const AT_ONCE = 24;

interface Tally {
  handshakes: number;
  serials: string[];
  failures: Record<string, number>;
  slowestMs: number;
}

function handshake(port: number, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, servername: A, ca }, () => {
      const { serialNumber } = socket.getPeerCertificate();
      socket.destroy();
      resolve(serialNumber);
    });
    socket.on("error", reject);
  });
}

async function knock(port: number, ca: string, forMs: number): Promise<Tally> {
  const tally: Tally = { handshakes: 0, serials: [], failures: {}, slowestMs: 0 };
  const serials = new Set<string>();
  const end = performance.now() + forMs;
  async function one(): Promise<void> {
    for (let begun = performance.now(); begun < end; begun = performance.now()) {
      try {
        serials.add(await handshake(port, ca));
        tally.handshakes++;
        tally.slowestMs = Math.max(tally.slowestMs, performance.now() - begun);
      } catch (error) {
        const { code = String(error) } = error as { code?: string };
        tally.failures[code] = (tally.failures[code] ?? 0) + 1;
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  return { ...tally, serials: [...serials] };
}

async function main(seconds: number): Promise<number> {
  await using authority = await startAuthority();
  await using relay = await serveDomains(authority, [A]);
  const args = [String(relay.httpsPort), String(seconds * 1_000), authority.rootFile, "knock"];
  const begun = performance.now();
  const clients = Array.from({ length: CLIENTS }, () =>
    Bun.spawn([process.execPath, import.meta.path, ...args], { stdio: ["ignore", "pipe", "inherit"] }),
  );
  for (let change = 1; change <= CHANGES; change++) {
    const due = begun + (change / (CHANGES + 1)) * seconds * 1_000;
    await Bun.sleep(Math.max(0, due - performance.now()));
    await renew(relay, A);
  }
  const tallies = await Promise.all(
    clients.map(async (client) => JSON.parse(await client.stdout.text()) as Tally),
  );
  const tookMs = performance.now() - begun;
  const handshakes = tallies.reduce((sum, tally) => sum + tally.handshakes, 0);
  const failures = tallies.map((tally) => tally.failures);
  const serials = new Set(tallies.flatMap((tally) => tally.serials)).size;
  const slowestMs = Math.max(...tallies.map((tally) => tally.slowestMs));
  const pace = Math.round((handshakes / tookMs) * 1_000);
  process.stdout.write(
    `${handshakes} handshakes in ${formatDuration(tookMs)} (${pace}/s), ${serials} certificates\n`,
  );
  process.stdout.write(`slowest ${slowestMs.toFixed(0)} ms, refused ${JSON.stringify(failures)}\n`);
  const refused = failures.some((failure) => Object.keys(failure).length > 0);
  return refused || serials !== CHANGES + 1 ? 1 : 0;
}

const [, , first = "30", forMs = "", caFile = "", word] = process.argv;
if (word === "knock") {
  const ca = await Bun.file(caFile).text();
  const tally = await knock(Number(first), ca, Number(forMs));
  process.stdout.write(JSON.stringify(tally));
} else process.exit(await main(Number(first)));
