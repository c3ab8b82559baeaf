import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { CHAT } from "../contract/promise.ts";
import * as hostile from "./hostile-requests.ts";
import { outcomeOf, quiet, startHostileRig, type Door, type HostileRig } from "./hostile-rig.ts";

let rig: HostileRig;
beforeAll(async () => void (rig = await startHostileRig()));
afterAll(() => rig[Symbol.asyncDispose]());

const smuggled = (text: string) => text.includes(hostile.SMUGGLED_ANSWER);

/** What refuses a request for how it is written. */
const REFUSALS = new Set([400, 413, 431, 501, 505]);

/**
 * What is wrong with how a door takes hostile bytes: each must be refused, the connection closed, and
 * nothing read behind them.
 *
 * @param may answers and requests at the worker before the refusal, for what begins properly
 */
async function wrongs(
  door: Door,
  requests: hostile.HostileRequests,
  may = 0,
  cut?: number,
): Promise<object[]> {
  const found: object[] = [];
  for (const [name, bytes] of Object.entries(requests)) {
    const before = rig.given.length;
    const socket = door.dial();
    const { statuses, text, closed } = await outcomeOf(socket, bytes, smuggled, cut);
    socket.destroy();
    const begun = rig.given.length - before;
    const answered = statuses.filter((status) => status < 400).length;
    // Of a megabyte most is not read, and the reset that says so can overtake the answer.
    const refused = REFUSALS.has(statuses.at(-1) ?? 0) || (statuses.length === 0 && bytes.length > 16_000);
    if (
      !closed ||
      !refused ||
      smuggled(text) ||
      answered > may ||
      begun > may ||
      statuses.length > answered + 1
    )
      found.push({ name, statuses, closed, begun, text: text.slice(0, 300) });
  }
  return found;
}

for (const name of ["HTTP", "HTTPS"] as const) {
  describe(`Hostile bytes over ${name}`, () => {
    test("are told from proper requests, whose connection goes on", async () => {
      const door = rig.doors[name];
      for (const [what, bytes] of Object.entries(hostile.proper)) {
        const socket = door.dial();
        const first = await outcomeOf(socket, bytes, (text) => text.endsWith('{"answer":true}'));
        const second = await outcomeOf(socket, hostile.SMUGGLED, smuggled);
        socket.destroy();
        expect({ what, statuses: [...first.statuses, ...second.statuses] }).toEqual({
          what,
          statuses: [200, 200],
        });
      }
      await rig.settled();
    });

    for (const [what, requests] of Object.entries({
      "lengths that are none": hostile.lengths,
      "transfer codings other than chunked alone": hostile.codings,
      "lines that end or begin wrongly": hostile.lines,
      "heads that are too large": hostile.floods,
    })) {
      test(`with ${what} are refused, and nothing behind them is read`, async () => {
        const door = rig.doors[name];
        expect(await wrongs(door, requests)).toEqual([]);
        await rig.ask(door);
        await rig.settled();
      });
    }

    test("with chunks that are none end the connection, and nothing behind them is read", async () => {
      const door = rig.doors[name];
      expect(await wrongs(door, hostile.chunks, 1)).toEqual([]);
      await rig.ask(door);
      await rig.settled();
    });

    test("are refused as well when they come in pieces of 7 bytes", async () => {
      const door = rig.doors[name];
      const short = (requests: hostile.HostileRequests) =>
        Object.fromEntries(Object.entries(requests).filter(([, bytes]) => bytes.length < 2_000));
      const heads = { ...short(hostile.lengths), ...short(hostile.codings), ...short(hostile.lines) };
      expect(await wrongs(door, heads, 0, 7)).toEqual([]);
      expect(await wrongs(door, short(hostile.chunks), 1, 7)).toEqual([]);
      await rig.settled();
    });
  });
}

/** Bytes with which a connection begins and does not go on; the second are sent again and again. */
const UNFINISHED: Record<string, [first: string, drip: string]> = {
  nothing: ["", ""],
  "half a line": ["GET /li", ""],
  "half a head": [`POST ${CHAT} HTTP/1.1\r\nHost: relay.test\r\n`, ""],
  "a head that drips": [`POST ${CHAT} HTTP/1.1\r\nHost: relay.test\r\n`, "X: a\r\n"],
  "a line that drips": ["GET /", "a"],
};

const CLIENT_HELLO = "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003";

/** The same before TLS is up. */
const UNFINISHED_HANDSHAKES: Record<string, [first: string, drip: string]> = {
  nothing: ["", ""],
  "half a ClientHello": [CLIENT_HELLO + "a".repeat(200), ""],
  "a ClientHello that drips": [CLIENT_HELLO, "a"],
  "one byte": ["\u0016", ""],
  "empty records": ["\u0016\u0003\u0001\u0000\u0000", "\u0016\u0003\u0001\u0000\u0000"],
};

const EACH = 60;

test("Connections that never finish what they begin are closed by the relay, which serves others meanwhile", async () => {
  const { HTTP, HTTPS } = rig.doors;
  const ends: Promise<void>[] = [];
  const open = (dial: () => Socket, [first, drip]: [string, string]) => {
    const socket = dial();
    socket.resume();
    if (first !== "") socket.write(first, "latin1");
    const dripping = drip === "" ? undefined : setInterval(() => socket.write(drip, "latin1"), 1_000);
    ends.push(
      new Promise((resolve) => {
        socket.once("close", () => {
          clearInterval(dripping);
          resolve();
        });
      }),
    );
  };
  for (let count = 0; count < EACH; count += 1) {
    for (const door of [HTTP, HTTPS]) for (const bytes of Object.values(UNFINISHED)) open(door.dial, bytes);
    for (const bytes of Object.values(UNFINISHED_HANDSHAKES))
      open(() => quiet(connect(HTTPS.port, "127.0.0.1")), bytes);
  }
  const asked: Promise<void>[] = [];
  const others = setInterval(() => asked.push(rig.ask(HTTP), rig.ask(HTTPS)), 250);
  // The relay's own doing: this side closes none of them.
  await Promise.all(ends);
  clearInterval(others);
  await Promise.all(asked);
  expect(asked.length).toBeGreaterThan(20);
  await rig.settled();
}, 40_000);

test("Garbage in the place of a ClientHello ends the connection at once, and the relay serves on", async () => {
  const { HTTPS } = rig.doors;
  const garbage = [
    ...Object.values(hostile.lines).filter((bytes) => !bytes.startsWith("\u0016")),
    "\u0016\u0003\u0001\u0000\u0005hello",
    "\u0016\u0003\u0001\u00ff\u00ff" + "\u0000".repeat(70_000),
    "\u0015\u0003\u0001\u0000\u0002\u0002\u0028",
    "\u0017\u0003\u0003\u0000\u0001x",
    "\u0080\u002e\u0001\u0000\u0002",
  ];
  for (const bytes of garbage) {
    const { text, closed } = await outcomeOf(quiet(connect(HTTPS.port, "127.0.0.1")), bytes, smuggled);
    expect({ bytes: bytes.slice(0, 40), closed, smuggled: smuggled(text) }).toEqual({
      bytes: bytes.slice(0, 40),
      closed: true,
      smuggled: false,
    });
  }
  await rig.ask(HTTPS);
  await rig.settled();
});

test("Connections that are reset in the middle of what they begin leave nothing behind", async () => {
  const { HTTP, HTTPS } = rig.doors;
  for (let round = 0; round < 20; round += 1) {
    const dials = Object.values(UNFINISHED).flatMap(([first]) => [
      [HTTP.dial, first] as const,
      [HTTPS.dial, first] as const,
    ]);
    for (const [first] of Object.values(UNFINISHED_HANDSHAKES))
      dials.push([() => quiet(connect(HTTPS.port, "127.0.0.1")), first]);
    await Promise.all(
      dials.map(async ([dial, first]) => {
        const socket = dial();
        await new Promise((resolve) => {
          socket.once("connect", resolve);
          socket.once("secureConnect", resolve);
          socket.once("close", resolve);
        });
        await new Promise<void>((resolve) => {
          socket.write(first, "latin1", () => resolve());
          socket.once("close", () => resolve());
        });
        if (round % 2 === 0) socket.resetAndDestroy();
        else socket.destroy();
      }),
    );
    await rig.ask(round % 2 === 0 ? HTTP : HTTPS);
  }
  await rig.settled();
});
