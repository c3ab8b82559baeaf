import { afterAll, beforeAll, expect, test } from "bun:test";
import { CHAT } from "../contract/promise.ts";
import { BODY } from "./hostile-requests.ts";
import { outcomeOf, startHostileRig, type HostileRig } from "./hostile-rig.ts";

let rig: HostileRig;
beforeAll(async () => void (rig = await startHostileRig(2)));
afterAll(() => rig[Symbol.asyncDispose]());

const HEAD = "HTTP/1.1\r\nHost: relay.test\r\n";

/** Requests whose answers may be silent for minutes, so that the runtime's idle timer is off for them. */
const ANSWERED: Record<string, string> = {
  "a model list": `GET /v1/models ${HEAD}\r\n`,
  "a refused chat": `POST ${CHAT} ${HEAD}Content-Length: 2\r\n\r\n{}`,
  "an answered chat": `POST ${CHAT} ${HEAD}Content-Length: ${BODY.length}\r\n\r\n${BODY}`,
};

test("A connection that has had its answer is closed when it sends nothing more, or half a request", async () => {
  const ends: Promise<unknown>[] = [];
  for (const door of Object.values(rig.doors)) {
    for (const bytes of Object.values(ANSWERED)) {
      for (const next of ["", "GET /li"]) {
        const socket = door.dial();
        const { statuses } = await outcomeOf(socket, bytes, (text) => text.includes("\r\n\r\n"));
        expect(statuses).toHaveLength(1);
        ends.push(new Promise((resolve) => socket.once("close", resolve)));
        if (next !== "") socket.write(next);
      }
    }
  }
  await Promise.all(ends);
  await rig.settled();
}, 60_000);
