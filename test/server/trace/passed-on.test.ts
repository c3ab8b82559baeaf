import { describe, expect, test } from "bun:test";
import type { TracingConfig } from "../../../src/server/trace/tracing.ts";
import { startRig, type Rig } from "../../faults/rig.ts";
import { startFakeCollector, tracingTo } from "./fake-collector.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "00f067aa0ba902b7";
const STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";

const parent = (flags: string) => `00-${TRACE}-${SPAN}-${flags}`;

/** What the backend is sent for a client's fields. */
async function atBackend(rig: Rig, headers: Record<string, string>): Promise<(string | undefined)[]> {
  const answer = fetch(`http://127.0.0.1:${rig.port}/v1/chat/completions`, {
    method: "POST",
    headers,
    body: JSON.stringify({ model: "m" }),
  });
  const asked = await rig.backend.next();
  asked.answer(200, {});
  await (await answer).text();
  return [asked.headers["traceparent"], asked.headers["tracestate"]];
}

describe("A trace that is not exported", () => {
  test("passes through the relay untouched, whatever it is", async () => {
    await using rig = await startRig();
    expect(await atBackend(rig, { traceparent: parent("01"), tracestate: STATE })).toEqual([
      parent("01"),
      STATE,
    ]);
    expect(await atBackend(rig, { traceparent: parent("00") })).toEqual([parent("00"), undefined]);
    expect(await atBackend(rig, {})).toEqual([undefined, undefined]);
  });
});

describe("A trace that is exported", () => {
  async function exporting(
    more: Partial<TracingConfig> = {},
  ): Promise<Rig & { [Symbol.asyncDispose](): Promise<void> }> {
    const collector = startFakeCollector();
    const rig = await startRig({ relay: { tracing: tracingTo(collector.url, more) } });
    const stop = rig[Symbol.asyncDispose];
    return Object.assign(rig, {
      async [Symbol.asyncDispose]() {
        await stop();
        collector[Symbol.dispose]();
      },
    });
  }

  test("keeps its id and its state on the way to the backend, and the relay's span stands between", async () => {
    await using rig = await exporting();
    const [sent, state] = await atBackend(rig, { traceparent: parent("01"), tracestate: STATE });
    expect(state).toBe(STATE);
    expect(sent).toMatch(new RegExp(`^00-${TRACE}-[0-9a-f]{16}-01$`));
    expect(sent).not.toContain(SPAN);
  });

  test("keeps the flag that says that its id is random", async () => {
    await using rig = await exporting();
    expect((await atBackend(rig, { traceparent: parent("03") }))[0]).toEndWith("-03");
    expect((await atBackend(rig, { traceparent: parent("ff") }))[0]).toEndWith("-03");
  });

  test("is passed on as it is where its client does not record it", async () => {
    await using rig = await exporting();
    expect(await atBackend(rig, { traceparent: parent("00"), tracestate: STATE })).toEqual([
      parent("00"),
      STATE,
    ]);
  });

  test("is taken up all the same by a relay that records everything", async () => {
    await using rig = await exporting({ sampler: "always_on" });
    const [sent] = await atBackend(rig, { traceparent: parent("02") });
    expect(sent).toMatch(new RegExp(`^00-${TRACE}-(?!${SPAN})[0-9a-f]{16}-03$`));
  });

  test("loses its flag, and its parent with it, in a relay that records nothing", async () => {
    await using rig = await exporting({ sampler: "always_off" });
    const [sent] = await atBackend(rig, { traceparent: parent("01") });
    expect(sent).toMatch(new RegExp(`^00-${TRACE}-(?!${SPAN})[0-9a-f]{16}-00$`));
    expect((await atBackend(rig, {}))[0]).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
  });

  test.each([
    ["none", {}],
    ["a malformed one", { traceparent: "00-xyz-01", tracestate: STATE }],
    ["one of zeros", { traceparent: `00-${"0".repeat(32)}-${SPAN}-01`, tracestate: STATE }],
    ["a state alone", { tracestate: STATE }],
  ] as [string, Record<string, string>][])(
    "begins at the relay for a client that sends %s",
    async (_, headers) => {
      await using rig = await exporting();
      const id = "0af76519-16cd-43dd-8448-eb211c80319c";
      const [sent, state] = await atBackend(rig, { ...headers, "x-request-id": id });
      expect(sent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
      // The client's own id says nothing of a trace: others may send the same.
      expect(sent).not.toContain(id.replaceAll("-", ""));
      expect(state).toBeUndefined();
    },
  );

  test("is told to the collector only where it is kept", async () => {
    using collector = startFakeCollector();
    await using rig = await startRig({ relay: { tracing: tracingTo(collector.url) } });
    await atBackend(rig, { traceparent: parent("00") });
    const models = await fetch(`http://127.0.0.1:${rig.port}/v1/models`, {
      headers: { traceparent: parent("01") },
    });
    await models.text();
    await rig.relay.drain();
    expect((await collector.posted.next()).paths).toEqual(["/v1/models"]);
    expect(collector.count).toBe(1);
  });
});
