import { expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import type { ResponseWriter } from "../../src/protocol/link.ts";
import type { LinkRequest } from "../../src/protocol/messages.ts";
import type { BackendEvents } from "../../src/worker/backend-exchange.ts";
import { createJobs } from "../../src/worker/jobs.ts";
import { Slots } from "../../src/worker/slots.ts";
import { Inbox } from "../support/inbox.ts";

const request: LinkRequest = {
  id: "r1",
  model: "m",
  method: "POST",
  path: "/v1/chat/completions",
  streaming: false,
  headers: {},
  body: new Uint8Array(0),
};

function writerInto(told: Inbox<string>): ResponseWriter {
  return {
    finished: false,
    room: () => undefined,
    head: ({ status }) => told.put(`head ${status}`),
    body() {},
    end: () => told.put("end"),
    fail: (status) => told.put(`fail ${status}`),
    cancelled: () => told.put("cancelled"),
  };
}

for (const maxConcurrency of [1, 2]) {
  test(`A request that comes again over a new link runs at once, with the connection it had closed and ${maxConcurrency} at once`, async () => {
    const calls = new Inbox<{ events: BackendEvents; cancelled: boolean }>();
    const jobs = createJobs({
      clock: systemClock,
      maxConcurrency,
      slots: new Slots(maxConcurrency),
      backend: () => ({
        url: "http://backend.test",
        send(_, events) {
          const call = { events, cancelled: false };
          calls.put(call);
          return {
            pause() {},
            resume() {},
            cancel() {
              call.cancelled = true;
            },
          };
        },
        close() {},
      }),
      resolve: (model) => ({ public: model, backend: model }),
      backendFailed() {},
      changed() {},
    });
    const before = new Inbox<string>();
    jobs.take(request, writerInto(before));
    const first = await calls.next();
    jobs.endAll({ kind: "cancelled" });
    expect([first.cancelled, jobs.load, await before.next()]).toEqual([true, 0, "cancelled"]);

    const after = new Inbox<string>();
    jobs.take(request, writerInto(after));
    // The same again is a mistake of the relay's, and runs no second time.
    jobs.take(request, writerInto(new Inbox()));
    expect(jobs.load).toBe(1);
    const second = await calls.next();
    second.events.head({ status: 200, headers: {} });
    second.events.end();
    expect([await after.next(), await after.next()]).toEqual(["head 200", "end"]);
    await jobs.idle();
    expect([jobs.load, calls.items.length]).toEqual([0, 0]);
  });
}
