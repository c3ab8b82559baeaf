import { expect, test } from "bun:test";
import { startFakeBackend, type Exchange } from "../support/fake-backend.ts";
import { eventsOf } from "./content.ts";
import { startFleet } from "./processes.ts";
import { RawClient } from "./raw-client.ts";

const STREAMS = 500;
const EVENTS = 20;

test("500 streams at once over one worker each get their own bytes, and no others", async () => {
  await using backend = await startFakeBackend(["m"]);
  await using fleet = await startFleet(backend.url, { worker: ["--max-concurrency=600"] });
  const clients = await Promise.all(
    Array.from({ length: STREAMS }, (_, seed) => RawClient.chat(fleet.port, { stream: true, seed })),
  );
  // None is answered before all of them are at the backend.
  const exchanges: { seed: number; asked: Exchange }[] = [];
  while (exchanges.length < STREAMS) {
    const asked = await backend.next();
    exchanges.push({ seed: (asked.json() as { seed: number }).seed, asked });
  }
  expect(new Set(exchanges.map(({ seed }) => seed)).size).toBe(STREAMS);
  expect(backend.connections()).toBeGreaterThanOrEqual(STREAMS);
  const expected = Array.from({ length: STREAMS }, (_, seed) => Buffer.from(eventsOf(seed, EVENTS).join("")));

  // All in step: event i of every stream is written before event i + 1 of any.
  for (const { asked } of exchanges) asked.head(200, { "content-type": "text/event-stream" });
  for (let i = 0; i <= EVENTS; i++) {
    for (const { seed, asked } of exchanges) {
      const bytes = Buffer.from(eventsOf(seed, EVENTS)[i] ?? "");
      // Cut where it falls, mostly inside a character somewhere.
      const cut = (seed * 7 + i) % bytes.length;
      asked.write(bytes.subarray(0, cut));
      asked.write(bytes.subarray(cut));
    }
    await Promise.all(exchanges.map(({ asked }) => asked.flushed()));
  }
  for (const { asked } of exchanges) asked.end();
  const bodies = await Promise.all(clients.map((client) => client.answer()));
  const wrong = bodies.flatMap((body, seed) => (body.equals(expected[seed] as Buffer) ? [] : [seed]));
  expect(wrong).toEqual([]);
  const load = await fleet.health((health) => health["requests_in_flight"] === 0);
  expect(load["bytes_held"]).toBe(0);
}, 30_000);
