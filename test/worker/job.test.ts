import { describe, expect, test } from "bun:test";
import type { ResponseWriter } from "../../src/protocol/link.ts";
import type { LinkRequest } from "../../src/protocol/messages.ts";
import { Job } from "../../src/worker/job.ts";
import { ManualClock } from "../support/manual-clock.ts";

const REQUEST: LinkRequest = {
  id: "r1",
  model: "tiny",
  method: "POST",
  path: "/v1/chat/completions",
  streaming: true,
  headers: {},
  body: new Uint8Array(0),
};
const STREAM = { status: 200, headers: { "content-type": "text/event-stream" } };
const PLAIN = { status: 200, headers: { "content-type": "text/plain" } };

/** A job between a backend and a link that are the test's. */
function started() {
  const told: string[] = [];
  const asked: string[] = [];
  let room: PromiseWithResolvers<void> | undefined;
  const writer: ResponseWriter = {
    finished: false,
    room: () => room?.promise,
    head: ({ status }) => void told.push(`head ${status}`),
    body: (bytes) => void told.push(Buffer.from(bytes).toString()),
    end: () => void told.push("end"),
    fail: (status) => void told.push(`fail ${status}`),
    cancelled: () => void told.push("cancelled"),
  };
  const backend = {
    url: "http://backend.test",
    send: () => ({
      pause: () => void asked.push("pause"),
      resume: () => void asked.push("resume"),
      cancel: () => void asked.push("cancel"),
    }),
    close() {},
  };
  const job = new Job({
    clock: new ManualClock(),
    request: REQUEST,
    writer,
    backend,
    model: { public: "tiny", backend: "tiny" },
    backendFailed() {},
    done: () => void told.push("done"),
  });
  job.start();
  return {
    job,
    told,
    asked,
    full: () => {
      room = Promise.withResolvers<void>();
    },
    /** @param full whether somebody else has taken the room meanwhile */
    free: async (full = false) => {
      const before = room;
      room = full ? Promise.withResolvers<void>() : undefined;
      before?.resolve();
      await before?.promise;
    },
  };
}

describe("Job", () => {
  test("answers with the error in an event that the end of the stream ends", () => {
    const { job, told } = started();
    job.head(STREAM);
    job.body(Buffer.from('data: {"error":{"message":"no","code":503}}\n'));
    expect(told).toEqual([]);
    job.end();
    expect(told).toEqual(["head 503", '{"error":{"message":"no","code":503}}', "end", "done"]);
  });

  test("passes a stream on that ends within its first event, or before it", () => {
    for (const text of ["data: a", ": comment\n\n", ""]) {
      const { job, told } = started();
      job.head(STREAM);
      if (text !== "") job.body(Buffer.from(text));
      job.end();
      expect(told).toEqual(["head 200", ...(text === "" ? [] : [text]), "end", "done"]);
    }
  });

  test("stops the backend until there is room, for as often as there is none", async () => {
    const { job, asked, full, free } = started();
    job.head(PLAIN);
    full();
    job.body(Buffer.from("a"));
    expect(asked).toEqual(["pause"]);
    await free(true);
    expect(asked).toEqual(["pause"]);
    await free();
    expect(asked).toEqual(["pause", "resume"]);
  });

  test("is not done before the link has taken all of it", async () => {
    const { job, told, full, free } = started();
    job.head(PLAIN);
    job.body(Buffer.from("a"));
    full();
    job.end();
    await free(true);
    expect(told).toEqual(["head 200", "a", "end"]);
    await free();
    expect(told).toEqual(["head 200", "a", "end", "done"]);
  });

  test("is done once, whatever it is told after that", async () => {
    const { job, told, full, free } = started();
    job.head(PLAIN);
    full();
    job.body(Buffer.from("a"));
    job.stop({ kind: "cancelled" });
    job.stop({ kind: "shutdown" });
    job.body(Buffer.from("b"));
    job.end();
    await free();
    expect(told).toEqual(["head 200", "a", "cancelled", "done"]);
  });
});
