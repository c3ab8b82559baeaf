import { describe, expect, test } from "bun:test";
import { startKeyedRelay, type KeyedRelay } from "../../support/keyed-relay.ts";

const chat = (relay: KeyedRelay, key: string, body: object = {}) =>
  relay.fetch("/v1/chat/completions", {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "m", ...body }),
  });

const TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string;

describe("Admin API", () => {
  test("makes a key and shows it once", async () => {
    await using relay = await startKeyedRelay();
    const made = await relay.admin("POST", "/admin/keys", {
      name: " ada ",
      models: ["m", "n"],
      rpm: 60,
      tpm: 10_000,
      concurrency: 4,
      priority: "high",
      budget: { tokens: 1_000_000, period: "month" },
      expires_at: "2099-01-31T00:00:00Z",
    });
    const view = {
      id: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
      name: "ada",
      prefix: expect.stringMatching(/^mr_live_\w{8}$/) as string,
      created_at: TIME,
      last_used_at: null,
      revoked: false,
      revoked_at: null,
      expires_at: "2099-01-31T00:00:00.000Z",
      models: ["m", "n"],
      priority: "high",
      rpm: 60,
      tpm: 10_000,
      concurrency: 4,
      budget: { tokens: 1_000_000, period: "month" },
    };
    expect([made.status, made.body]).toEqual([
      201,
      { ...view, secret: expect.stringMatching(/^mr_live_[0-9A-Za-z]{43}$/) as string },
    ]);
    expect(made.headers.get("cache-control")).toBe("no-store");
    const { secret: _secret, ...shown } = made.body;
    expect((await relay.admin("GET", "/admin/keys")).body).toEqual({ keys: [shown] });
    const { id } = shown as { id: string };
    expect((await relay.admin("GET", `/admin/keys/${id}`)).body).toEqual(shown);
    expect((await relay.store.listKeys())[0]).toMatchObject({
      limits: {
        requestsPerMinute: 60,
        tokensPerMinute: 10_000,
        concurrency: 4,
        budget: { tokens: 1_000_000, period: "month" },
      },
    });
  });

  test("makes a key from a name alone, which may do everything", async () => {
    await using relay = await startKeyedRelay();
    expect((await relay.admin("POST", "/admin/keys", { name: "ada" })).body).toMatchObject({
      expires_at: null,
      models: null,
      priority: "normal",
      rpm: null,
      tpm: null,
      concurrency: null,
      budget: null,
    });
  });

  test("changes what is named, clears what is null, and leaves the rest", async () => {
    await using relay = await startKeyedRelay();
    const { body } = await relay.admin("POST", "/admin/keys", { name: "ada", rpm: 5, tpm: 7, models: ["m"] });
    const { secret, ...before } = body;
    const path = `/admin/keys/${String(body["id"])}`;
    const changed = await relay.admin("PATCH", path, {
      name: "eve",
      rpm: null,
      concurrency: 2,
      models: null,
    });
    const after = { ...before, name: "eve", rpm: null, concurrency: 2, models: null };
    expect([changed.status, changed.body]).toEqual([200, after]);
    expect((await relay.admin("GET", path)).body).toEqual(after);
    expect(relay.ring.find(String(secret))).toMatchObject({
      client: { key: { name: "eve" }, models: undefined, limits: { tokensPerMinute: 7, concurrency: 2 } },
    });
  });

  test("revokes a key at once, keeps it in the list, and changes it no more", async () => {
    await using relay = await startKeyedRelay();
    const worker = await relay.worker();
    await worker.register(["m"]);
    const { body } = await relay.admin("POST", "/admin/keys", { name: "ada" });
    const key = String(body["secret"]);
    const path = `/admin/keys/${String(body["id"])}`;
    const answer = chat(relay, key);
    worker.complete(await worker.next("request"), 200, "{}");
    expect((await answer).status).toBe(200);
    expect((await relay.admin("DELETE", path)).status).toBe(204);
    expect((await chat(relay, key)).status).toBe(401);
    expect((await relay.admin("DELETE", path)).status).toBe(204);
    expect((await relay.admin("GET", path)).body).toMatchObject({
      revoked: true,
      revoked_at: TIME,
      last_used_at: TIME,
    });
    const refused = await relay.admin("PATCH", path, { name: "eve" });
    expect([refused.status, refused.body]).toMatchObject([409, { error: { code: "key_revoked" } }]);
  });

  test("lets what runs for a revoked key finish, unless it is told not to", async () => {
    await using relay = await startKeyedRelay();
    const worker = await relay.worker();
    await worker.register(["m"], { max_concurrent: 4 });
    const kept = await relay.key();
    const ended = await relay.key();
    const streams: string[] = [];
    for (const { secret } of [kept, ended]) {
      const answer = chat(relay, secret, { stream: true });
      const request = await worker.next("request");
      worker.chunk(request, "data: 1\n\n");
      streams.push(String(request["request_id"]));
      void answer;
      const response = await answer;
      const reader = response.body!.getReader();
      expect(new TextDecoder().decode((await reader.read()).value)).toBe("data: 1\n\n");
      const { id } = secret === kept.secret ? kept : ended;
      const query = secret === kept.secret ? "" : "?revoke_running=true";
      expect((await relay.admin("DELETE", `/admin/keys/${id}${query}`)).status).toBe(204);
      if (secret === kept.secret) {
        worker.chunk(request, "data: 2\n\n");
        expect(new TextDecoder().decode((await reader.read()).value)).toBe("data: 2\n\n");
        worker.complete(request);
        expect((await reader.read()).done).toBe(true);
      } else {
        const error = new TextDecoder().decode((await reader.read()).value);
        expect(JSON.parse(error.replace(/^data: /, ""))).toMatchObject({
          error: { code: "invalid_api_key", message: "The API key was revoked" },
        });
        expect((await reader.read()).done).toBe(true);
        expect(await worker.next("cancel")).toMatchObject({ request_id: streams[1] });
      }
    }
  });

  test("ends what waits in the queue for a revoked key, and what is still being sent for it", async () => {
    await using relay = await startKeyedRelay();
    const worker = await relay.worker();
    await worker.register(["m"], { max_concurrent: 1 });
    const holder = chat(relay, (await relay.key()).secret);
    const held = await worker.next("request");
    const { id, secret } = await relay.key();
    const waiting = chat(relay, secret);
    while (relay.relay.relay.core.queueLength === 0) await fetch(`${relay.url}/livez`);

    const rest = Promise.withResolvers<void>();
    const sending = relay.fetch("/v1/chat/completions", {
      method: "POST",
      headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
      body: (async function* () {
        yield new TextEncoder().encode('{"model":');
        await rest.promise;
        yield new TextEncoder().encode('"m"}');
      })() as unknown as ReadableStream,
    });
    while (relay.ring.key(id)?.lastUsedAt === undefined) await fetch(`${relay.url}/livez`);
    await relay.admin("DELETE", `/admin/keys/${id}?revoke_running=true`);
    expect((await waiting).status).toBe(401);
    rest.resolve();
    expect((await sending).status).toBe(401);
    worker.complete(held, 200, "{}");
    expect((await holder).status).toBe(200);
    expect(relay.relay.relay.budget.held).toBe(0);
  });

  const MISTAKES: [body: unknown, message: string][] = [
    [{}, 'Cannot do without field "name": expected 1 to 100 characters on one line'],
    [{ name: "" }, 'Cannot use field "name": expected 1 to 100 characters on one line'],
    [{ name: "a\nb" }, 'Cannot use field "name": expected 1 to 100 characters on one line'],
    [{ name: "a".repeat(101) }, 'Cannot use field "name": expected 1 to 100 characters on one line'],
    [
      { name: "a", rmp: 5 },
      'Cannot use field "rmp": accepted are name, models, rpm, tpm, concurrency, priority, budget, expires_at',
    ],
    [
      { name: "a", rpm: 0 },
      'Cannot use field "rpm": expected a whole number from 1 to 1000000000000, or null for no limit',
    ],
    [
      { name: "a", tpm: "5" },
      'Cannot use field "tpm": expected a whole number from 1 to 1000000000000, or null for no limit',
    ],
    [
      { name: "a", models: [] },
      'Cannot use field "models": expected 1 to 1000 names of models, or null for all',
    ],
    [{ name: "a", priority: "urgent" }, 'Cannot use field "priority": expected one of high, normal, low'],
    [
      { name: "a", budget: { tokens: 5 } },
      'Cannot use field "budget": expected {"tokens": a whole number from 1, "period": one of day, month}, or null for none',
    ],
    [
      { name: "a", expires_at: "tomorrow" },
      'Cannot use field "expires_at": expected a time such as 2030-01-31T00:00:00Z, or null for never',
    ],
    [
      [],
      "Cannot use the body: expected a JSON object with the fields name, models, rpm, tpm, concurrency, priority, budget, expires_at",
    ],
  ];
  test("says which field is wrong and what is accepted, and makes nothing", async () => {
    await using relay = await startKeyedRelay();
    for (const [body, message] of MISTAKES) {
      const { status, body: said } = await relay.admin("POST", "/admin/keys", body);
      expect({ status, said }).toEqual({
        status: 400,
        said: { error: { message, type: "invalid_request_error", param: null, code: "invalid_request" } },
      });
    }
    expect(relay.ring.keys()).toEqual([]);
  });

  test("refuses what is no JSON, what is too long, an unknown path and a wrong method", async () => {
    await using relay = await startKeyedRelay();
    const headers = { authorization: "Bearer admin-token-of-the-tests" };
    const send = (body: string) => relay.fetch("/admin/keys", { method: "POST", headers, body });
    expect([(await send("{")).status, (await send(`"${"x".repeat(600_000)}"`)).status]).toEqual([400, 413]);
    const absent = await relay.admin("GET", "/admin/users");
    expect([absent.status, absent.body]).toMatchObject([404, { error: { code: "not_found" } }]);
    const wrong = await relay.admin("PUT", "/admin/keys", {});
    expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "POST, GET"]);
    for (const [method, path] of [
      ["GET", "/admin/keys/absent"],
      ["DELETE", "/admin/keys/absent"],
      ["DELETE", "/admin/worker-secrets/absent"],
    ] as const)
      expect((await relay.admin(method, path)).status).toBe(404);
    expect((await relay.admin("PATCH", "/admin/keys/absent", { name: "x" })).status).toBe(404);
    for (const query of ["revoke_running=perhaps", "revoke-running=true"])
      expect((await relay.admin("DELETE", `/admin/keys/absent?${query}`)).status).toBe(400);
    expect(relay.relay.relay.budget.held).toBe(0);
  });

  test("limits a key to models, and names no others to its clients", async () => {
    await using relay = await startKeyedRelay();
    const worker = await relay.worker();
    await worker.register(["hidden", "m"]);
    const { secret } = await relay.key({ models: ["m", "absent"] });
    const headers = { authorization: `Bearer ${secret}` };
    const listed = await relay.fetch("/v1/models", { headers });
    expect(((await listed.json()) as { data: { id: string }[] }).data.map(({ id }) => id)).toEqual(["m"]);
    const answers = [
      await chat(relay, secret, { model: "absent" }),
      await relay.fetch("/v1/models/absent", { headers }),
      await relay.fetch("/v1/models/hidden", { headers }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([404, 404, 403]);
    expect(await answers[0]!.text()).toContain('offered are \\"m\\"');
    expect(await answers[1]!.text()).not.toContain("hidden");
  });

  test("is not there for a relay without an admin token", async () => {
    await using relay = await startKeyedRelay({ adminToken: undefined });
    expect((await relay.admin("GET", "/admin/keys")).status).toBe(404);
  });

  test("counts requests since the start, and shows the workers with the secret that each has shown", async () => {
    await using relay = await startKeyedRelay();
    const made = await relay.admin("POST", "/admin/worker-secrets", { name: "box" });
    const named = await relay.worker(String(made.body["secret"]));
    await named.register(["m"], { worker_name: "named" });
    const own = await relay.worker();
    await own.register(["n"], { worker_name: "own" });
    const { secret } = await relay.key();
    const answer = chat(relay, secret);
    named.complete(await named.next("request"), 200, "{}");
    await answer;
    await chat(relay, "wrong");
    expect((await relay.admin("GET", "/admin/stats")).body).toMatchObject({
      workers_connected: 2,
      models: ["m", "n"],
      queue_depth: 0,
      requests_in_flight: 0,
      keys: { total: 1, active: 1 },
      requests: { total: 2, complete: 1, refused: 1, failed: 0, cancelled: 0, bytes_in: 13, bytes_out: 2 },
      last_minute: { requests: 2, failed: 0, models: [{ name: "m", requests: 1 }] },
    });
    const { workers } = (await relay.admin("GET", "/admin/workers")).body as { workers: object[] };
    expect(workers).toMatchObject([
      { name: "named", secret: { id: made.body["id"], name: "box" }, models: ["m"], address: "127.0.0.1" },
      { name: "own", secret: null, models: ["n"], in_flight: 0, max_concurrent: 1 },
    ]);
  });
});
