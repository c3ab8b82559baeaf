import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { lacksPart } from "../support/parts.ts";
import {
  A,
  B,
  freePort,
  listening,
  modelrelay,
  renew,
  serveDomains,
  shown,
  startAuthority,
  startTlsRelay,
  waitFor,
  type Authority,
  type TlsRelay,
} from "./tls-relay.ts";

const NO_CA = lacksPart("pebble", "pebbleChallengeServer");

/** Passes what the CA asks on to whichever relay answers, as a load balancer before several would. */
function startBalancer(): { port: number; relays: number[] } & AsyncDisposable {
  const relays: number[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    reusePort: false,
    async fetch(request) {
      const { pathname } = new URL(request.url);
      for (;;) {
        for (const port of relays) {
          try {
            return await fetch(`http://127.0.0.1:${port}${pathname}`, { redirect: "manual", proxy: "" });
          } catch {
            // Not up yet; the CA waits for the other one, or for the next round.
          }
        }
        await Bun.sleep(5);
      }
    },
  });
  return { port: server.port!, relays, [Symbol.asyncDispose]: () => server.stop(true) };
}

describe.skipIf(NO_CA)("Two relays on one data directory", () => {
  test("place one order, whoever is asked by the CA, and serve the same certificate", async () => {
    await using balancer = startBalancer();
    await using authority = await startAuthority({ httpPort: balancer.port });
    const dataDir = authority.dataDir();
    const start = (): TlsRelay => {
      const httpPort = freePort();
      balancer.relays.push(httpPort);
      const env = { ...authority.env, HTTP_PORT: `127.0.0.1:${httpPort}` };
      return startTlsRelay({ env, dataDir, args: ["--tls", "--domain", A] });
    };
    await using one = start();
    await using two = start();
    await Promise.all([listening(one), listening(two)]);
    const serials = [];
    for (const { httpsPort } of [one, two]) serials.push((await shown(httpsPort, A)).serial);
    expect(serials[0]).toMatch(/^[0-9a-f]{8,}$/);
    expect(serials[1]).toBe(serials[0]);
    expect(authority.pebble.orderCount()).toBe(1);
    expect(authority.pebble.accountCount()).toBe(1);
    const ordering = [one, two].filter(({ program }) => program.stderr.includes("Ordering a certificate"));
    expect(ordering).toHaveLength(1);
  });

  test("need port 80 once: the one that has it answers for the other", async () => {
    await using authority = await startAuthority();
    await using first = await serveDomains(authority, [A]);
    const { dataDir } = first;
    const env = { HTTP_PORT: `127.0.0.1:${freePort()}` };
    await using second = await serveDomains(authority, [A, B], { dataDir, env });
    expect((await shown(second.httpsPort, A)).serial).toBe((await shown(first.httpsPort, A)).serial);
    expect((await shown(second.httpsPort, B)).names).toEqual([B]);
    expect(second.program.stderr).not.toContain(`Ordering a certificate domain=${A}`);
    expect(authority.pebble.orderCount()).toBe(2);
    expect(authority.pebble.accountCount()).toBe(1);
    const serial = await renew(first, A);
    second.reload();
    await waitFor("what the other one renewed", async () => {
      return (await shown(second.httpsPort, A)).serial === serial;
    });
  });
});

const ROUNDS = 12;
/** About what an order takes, in ms. */
const ORDER_MS = 120;

describe.skipIf(NO_CA)("A relay that is killed while it orders", () => {
  let authority: Authority;
  beforeAll(async () => {
    authority = await startAuthority();
  });
  afterAll(() => authority[Symbol.asyncDispose]());

  /** Orders that the CA called invalid, as nobody was there to answer its question. */
  const unanswered = () => authority.pebble.log().match(/authz \S+ set INVALID/g)?.length ?? 0;

  /** An order may lie there whose certificate is there as well: the next renewal knows it by its key. */
  function isDone(folder: string): boolean {
    const order = join(folder, "order.json");
    if (!existsSync(order)) return true;
    const { keyPem } = JSON.parse(readFileSync(order, "utf8")) as { keyPem: string };
    return keyPem.trim() === readFileSync(join(folder, "privkey.pem"), "utf8").trim();
  }

  async function killTwiceAndServe(domain: string, dataDir: string): Promise<number[]> {
    const killedAt = [];
    for (let kills = 0; kills < 2; kills++) {
      await using relay = startTlsRelay({ env: authority.env, dataDir, args: ["--tls", "--domain", domain] });
      // Some while it starts, the others somewhere in the order.
      const started = Math.random() < 0.2;
      await relay.program.until(
        started ? /HTTPS is served|The relay listens/ : /Ordering|The relay listens|waits until/,
      );
      const delayMs = Math.random() * ORDER_MS;
      killedAt.push(Math.round(delayMs));
      await Bun.sleep(delayMs);
      relay.program.kill("SIGKILL");
      await relay.program.exited;
    }
    await using relay = startTlsRelay({ env: authority.env, dataDir, args: ["--tls", "--domain", domain] });
    const served = listening(relay).then(() => true);
    const failed = relay.program.until(/error Cannot get|waits until/).then(() => false);
    // One that was killed between its answer's promise and the CA's question has a failure to rest after.
    if (!(await Promise.race([served, failed]))) relay.reload();
    await served;
    failed.catch(() => {});
    expect((await shown(relay.httpsPort, domain)).names).toEqual([domain]);
    return killedAt;
  }

  test("is followed by one that serves: one order for each that the CA can still fulfil, one account, a clean store", async () => {
    for (let round = 1; round <= ROUNDS; round++) {
      const domain = `round-${round}.localhost`;
      const dataDir = authority.dataDir();
      const { pebble } = authority;
      const before = { orders: pebble.orderCount(), accounts: pebble.accountCount(), invalid: unanswered() };
      const killedAt = await killTwiceAndServe(domain, dataDir);
      const status = await modelrelay(
        { env: { ...authority.env, MODELRELAY_DATA_DIR: dataDir } },
        "tls",
        "status",
        "--json",
      );
      const { certificates } = JSON.parse(status.stdout) as { certificates: { names: string[] }[] };
      const folder = join(dataDir, "tls", domain);
      expect({
        killedAt,
        // An order is lost only where the relay had told the CA to come, and was dead when it came.
        orders: pebble.orderCount() - before.orders - (unanswered() - before.invalid),
        accounts: pebble.accountCount() - before.accounts,
        names: certificates.map(({ names }) => names),
        files: readdirSync(folder)
          .filter((name) => name !== "order.json")
          .sort(),
        orderIsDone: isDone(folder),
        modes: [...new Set(readdirSync(folder).map((name) => statSync(join(folder, name)).mode & 0o777))],
      }).toEqual({
        killedAt,
        orders: 1,
        accounts: 1,
        names: [[domain]],
        files: ["combined.pem", "fullchain.pem", "privkey.pem", "state.json"],
        orderIsDone: true,
        modes: [0o600],
      });
    }
  }, 60_000);
});
