import { expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import type { ResponseWriter } from "../../src/protocol/link.ts";
import type { LinkRequest } from "../../src/protocol/messages.ts";
import type { BackendResponse } from "../../src/worker/backend.ts";
import { createJobs } from "../../src/worker/jobs.ts";
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

/** An answer without a body. */
const empty: BackendResponse = {
  status: 200,
  headers: {},
  read: () => Promise.resolve(undefined),
  cancel() {},
};

for (const maxConcurrency of [1, 2]) {
  test(`A request that comes again over a new link runs, with its old connection still closing and ${maxConcurrency} at once`, async () => {
    const sends = new Inbox<PromiseWithResolvers<BackendResponse>>();
    const jobs = createJobs({
      clock: systemClock,
      maxConcurrency,
      backend: () => ({
        url: "http://backend.test",
        send() {
          // The connection closes when the test says so, however long ago it was given up.
          const answer = Promise.withResolvers<BackendResponse>();
          sends.put(answer);
          return answer.promise;
        },
      }),
      resolve: (model) => ({ public: model, backend: model }),
      backendFailed() {},
      changed() {},
    });
    const before = new Inbox<string>();
    jobs.take(request, writerInto(before));
    const closing = await sends.next();
    jobs.endAll({ kind: "cancelled" });

    const after = new Inbox<string>();
    jobs.take(request, writerInto(after));
    expect(jobs.load).toBe(1);
    // The same again is a mistake of the relay's, and runs no second time.
    jobs.take(request, writerInto(new Inbox()));
    expect(jobs.load).toBe(1);
    closing.reject(new Error("aborted"));
    expect(await before.next()).toBe("cancelled");
    (await sends.next()).resolve(empty);
    expect([await after.next(), await after.next()]).toEqual(["head 200", "end"]);
    await jobs.idle();
    expect([jobs.load, sends.items.length]).toEqual([0, 0]);
  });
}
