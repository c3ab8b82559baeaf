import { expect, test } from "bun:test";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { CHAT } from "../contract/promise.ts";
import { PREFACE } from "../faults/h2-frames.ts";
import { startSecureRelay, type SecureRelay } from "./rig.ts";

/** The first bytes of a handshake whose message is 512 bytes long. */
const CLIENT_HELLO = "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003";

type Dial = (relay: SecureRelay) => Promise<Socket>;

const plain: Dial = async (relay) => {
  const socket = connect(relay.port, "127.0.0.1");
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
};

const secure =
  (protocol: string): Dial =>
  async (relay) => {
    const socket = connectTls({
      port: relay.port,
      host: "127.0.0.1",
      ca: relay.caPem,
      ALPNProtocols: [protocol],
    });
    socket.on("error", () => {});
    await once(socket, "secureConnect");
    return socket;
  };

/** How connections begin that are never finished: with what, and what comes each second from then on. */
const UNFINISHED: { count: number; dial: Dial; first: string; drip: string }[] = [
  { count: 350, dial: plain, first: "", drip: "" },
  { count: 350, dial: plain, first: CLIENT_HELLO + "a".repeat(200), drip: "" },
  { count: 300, dial: plain, first: CLIENT_HELLO, drip: "a" },
  {
    count: 100,
    dial: secure("http/1.1"),
    first: `POST ${CHAT} HTTP/1.1\r\nHost: relay.test\r\n`,
    drip: "X: a\r\n",
  },
  { count: 50, dial: secure("http/1.1"), first: "", drip: "" },
  { count: 50, dial: secure("h2"), first: PREFACE.toString("latin1"), drip: "" },
];

/** What a good request may take meanwhile on a machine with other things to do. */
const GOOD_REQUEST_MS = 1_000;

test("1,000 handshakes and 200 requests that are never finished are let go, and others are served meanwhile", async () => {
  await using relay = await startSecureRelay();
  const before = relay.use();
  const ends: Promise<unknown>[] = [];
  const timers: Timer[] = [];
  for (const { count, dial, first, drip } of UNFINISHED) {
    for (let n = 0; n < count; n += 1) {
      const socket = await dial(relay);
      socket.resume();
      if (first !== "") socket.write(first, "latin1");
      if (drip !== "") timers.push(setInterval(() => socket.write(drip, "latin1"), 1_000));
      // Not `once()`, which rejects at a reset: so ends a connection on which there was something to read.
      ends.push(new Promise((resolve) => socket.once("close", resolve)));
    }
  }
  const during = relay.use();
  // The kernel keeps those that send nothing to itself at first.
  if (process.platform === "linux") expect(during.files - before.files).toBeGreaterThanOrEqual(850);
  const over = new AbortController();
  const slow: number[] = [];
  const asking = (async () => {
    while (!over.signal.aborted) {
      const begun = performance.now();
      expect((await relay.fetch("/livez", { keepalive: false })).status).toBe(200);
      slow.push(performance.now() - begun);
      await Bun.sleep(20);
    }
  })();
  // The relay's own doing: this side closes none of them.
  await Promise.all(ends);
  over.abort();
  await asking;
  for (const timer of timers) clearInterval(timer);
  expect(slow.length).toBeGreaterThan(100);
  expect(Math.max(...slow)).toBeLessThan(GOOD_REQUEST_MS);
  while (relay.use().files > before.files) await Bun.sleep(10);
  expect(relay.use().memoryMiB - before.memoryMiB).toBeLessThan(128);
}, 90_000);
