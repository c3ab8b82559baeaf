import { expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { BackendError } from "../../src/worker/backend-error.ts";
import { createBackend } from "../../src/worker/backend.ts";
import { collectAnswer } from "../../src/worker/collect-answer.ts";
import { startFakeBackend } from "../support/fake-backend.ts";

const limits = { clock: systemClock, firstByteTimeoutMs: 0, idleTimeoutMs: 0 };
const request = { method: "POST", path: "/v1/x", headers: {}, body: new Uint8Array(0) };

test("Collected answer is the first 64 KiB of it", async () => {
  await using fake = await startFakeBackend();
  const backend = createBackend({ url: fake.url, ...limits });
  const collected = collectAnswer(backend, request);
  const exchange = await fake.next();
  exchange.head(404);
  await exchange.writeSplit("x".repeat(100_000), 30_000);
  exchange.end();
  expect(await collected).toEqual({ status: 404, text: "x".repeat(65_536) });
  backend.close();
});

test("Collected answer is an error if it breaks off, or was never asked for", async () => {
  await using fake = await startFakeBackend();
  const backend = createBackend({ url: fake.url, ...limits });
  const collected = collectAnswer(backend, request).catch((error: unknown) => error);
  const exchange = await fake.next();
  exchange.head(200);
  exchange.cut();
  expect(await collected).toBeInstanceOf(BackendError);
  const elsewhere = collectAnswer(backend, { ...request, path: "/x" });
  expect(await elsewhere.catch((error: unknown) => error)).toMatchObject({ status: 404 });
  backend.close();
});
