import { expect, test } from "bun:test";
import { silentLog } from "../../src/base/log.ts";
import { certificateTroubles } from "../../src/server/certificate-status.ts";
import { openTlsDoor } from "../../src/server/tls-door.ts";
import { readCertificate } from "../../src/tls/certificate.ts";
import type { Identity } from "../../src/tls/source.ts";
import { makeCertificate } from "../support/certificates.ts";
import { ManualClock } from "../support/manual-clock.ts";

test("A door whose port was taken while its certificate was ordered says so, and opens later", async () => {
  const clock = new ManualClock();
  const made = makeCertificate({ names: ["relay.lan"] });
  const certificate = readCertificate(made.chainPem);
  const take = (port: number) => Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } });
  const first = take(0);
  const { port } = first;
  first.stop(true);
  let change: (identities: readonly Identity[]) => void = () => {};
  let identities: Identity[] = [];
  const handlers = {
    request: () => new Response("served"),
    socket: () => {
      throw new Error("Nothing is upgraded here");
    },
  };
  const door = await openTlsDoor(handlers, {
    config: {
      https: { host: "127.0.0.1", port },
      http: undefined,
      httpIsNeeded: false,
      http2: true,
      http3: false,
      hstsSecs: 0,
    },
    open: (onChange) => {
      change = onChange;
      return Promise.resolve({
        identities: () => identities,
        reports: () => [{ subject: "relay.lan", names: ["relay.lan"], certificate }],
        reload() {},
        close: () => Promise.resolve(),
      });
    },
    challenge: () => Promise.resolve(undefined),
    onOpen() {},
    sendLimit: 0,
    clock,
    log: silentLog,
  });
  try {
    const troubles = () => certificateTroubles(door.reports()[0]!, certificate.notBefore);
    const taken = take(port);
    identities = [{ ...made }];
    change(identities);
    expect(troubles()).toEqual([
      `HTTPS is not served: Cannot listen on 127.0.0.1:${port}: another program listens there already`,
    ]);
    taken.stop(true);
    clock.advance(5_000);
    expect([door.httpsPort, troubles()]).toEqual([port, []]);
  } finally {
    await door.stop();
  }
});
