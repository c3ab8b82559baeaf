import { expect, test } from "bun:test";
import { lacksPart } from "../support/parts.ts";
import { ended, listenersOn } from "./handed-over.ts";
import { A, clientOf, modelrelay, serveDomains, shown, startAuthority, waitFor } from "./tls-relay.ts";

/** Asks over and over, with a new connection each time. @returns what came that was not wanted, and how often it asked */
function askOften(
  ask: () => Promise<Response>,
  status: number,
): () => Promise<{ tried: number; others: unknown[] }> {
  const others: unknown[] = [];
  let tried = 0;
  let stopped = false;
  async function loop(): Promise<void> {
    for (;;) {
      if (stopped) return;
      tried++;
      try {
        const response = await ask();
        await response.arrayBuffer();
        if (response.status !== status) others.push(response.status);
      } catch (error) {
        others.push(String(error));
      }
    }
  }
  const loops = [loop(), loop()];
  return async () => {
    stopped = true;
    await Promise.all(loops);
    return { tried, others };
  };
}

test.skipIf(lacksPart("pebble", "pebbleChallengeServer") || process.platform !== "linux")(
  "A relay with certificates of a CA hands over both of its ports, and the next process renews",
  async () => {
    await using authority = await startAuthority();
    await using relay = await serveDomains(authority, [A]);
    const { program, httpsPort } = relay;
    const { httpPort } = authority;
    const ask = clientOf(relay, authority.rootPem);
    const secure = askOften(() => ask("/livez", { keepalive: false }), 200);
    const plain = askOften(
      () => fetch(`http://127.0.0.1:${httpPort}/livez`, { redirect: "manual", keepalive: false }),
      308,
    );
    const before = (await shown(httpsPort, A)).serial;
    program.kill("SIGUSR2");
    const [, pid = ""] = await program.until(/taken over; .* pid=(\d+)/);
    try {
      expect((await shown(httpsPort, A)).serial).toBe(before);
      expect(await program.ended).toBe(0);
      for (const asked of [await secure(), await plain()]) {
        expect(asked.tried).toBeGreaterThan(20);
        expect(asked.others).toEqual([]);
      }
      expect([listenersOn(httpsPort), listenersOn(httpPort)]).toEqual([1, 1]);
      const renewed = await modelrelay(relay, "tls", "renew", "--force", "--domain", A);
      expect({ code: renewed.code, stderr: renewed.stderr }).toMatchObject({ code: 0 });
      process.kill(Number(pid), "SIGHUP");
      await waitFor("the renewed certificate", async () => {
        const { serial } = await shown(httpsPort, A);
        return serial !== "" && serial !== before;
      });
    } finally {
      process.kill(Number(pid), "SIGTERM");
      await ended(Number(pid));
    }
  },
  60_000,
);
