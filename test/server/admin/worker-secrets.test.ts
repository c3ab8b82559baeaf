import { describe, expect, test } from "bun:test";
import { startKeyedRelay } from "../../support/keyed-relay.ts";

describe("A named worker secret", () => {
  for (const link of ["v1", "v2"] as const) {
    test(`lets a worker of ${link} offer its models and no others`, async () => {
      await using relay = await startKeyedRelay();
      const made = await relay.admin("POST", "/admin/worker-secrets", { name: "box", models: ["m", "n"] });
      expect([made.status, made.body]).toMatchObject([
        201,
        {
          name: "box",
          models: ["m", "n"],
          revoked: false,
          prefix: expect.stringMatching(/^mr_work_\w{8}$/) as string,
        },
      ]);
      const worker = await relay.worker(String(made.body["secret"]), link);
      const ack = await worker.register(["m", "other", "n"]);
      expect(ack["models"]).toEqual(["m", "n"]);
      expect(ack["warnings"]).toEqual(["left out 1 model that this worker secret is not allowed to offer"]);
      const { secret } = await relay.key();
      const listed = await relay.fetch("/v1/models", { headers: { authorization: `Bearer ${secret}` } });
      expect(await listed.text()).not.toContain("other");
      const shown = await relay.admin("GET", "/admin/worker-secrets");
      expect(JSON.stringify(shown.body)).not.toContain(String(made.body["secret"]));
      expect(shown.body).toMatchObject({ worker_secrets: [{ id: made.body["id"], name: "box" }] });
    });

    test(`lets a worker of ${link} in no more once it is revoked, and ends its link`, async () => {
      await using relay = await startKeyedRelay();
      const [lost, other] = await Promise.all([
        relay.admin("POST", "/admin/worker-secrets", { name: "lost" }),
        relay.admin("POST", "/admin/worker-secrets", { name: "other" }),
      ]);
      const secret = String(lost.body["secret"]);
      const gone = await relay.worker(secret, link);
      await gone.register(["m"]);
      // Connected, and not yet registered.
      const late = await relay.worker(secret, link);
      const stays = await relay.worker(String(other.body["secret"]), link);
      await stays.register(["n"]);
      const own = await relay.worker(undefined, link);
      await own.register(["o"]);
      expect((await relay.admin("DELETE", `/admin/worker-secrets/${String(lost.body["id"])}`)).status).toBe(
        204,
      );
      expect(await gone.closed).toEqual({ code: 1012, reason: "The worker secret was revoked" });
      expect(await late.register(["m"]).catch(() => "no answer")).toBe("no answer");
      expect(await late.closed).toEqual({ code: 1012, reason: "The worker secret was revoked" });
      // It stays refused.
      const refused: unknown = await relay.worker(secret, link).catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(Error);
      expect(relay.relay.relay.core.registry.models()).toEqual(["n", "o"]);
    });
  }

  test("is refused with 503 while nobody can tell whether there is such a secret", async () => {
    await using relay = await startKeyedRelay();
    relay.store.trouble = new Error("gone");
    const ask = (secret: string) =>
      relay.fetch("/v1/worker/connect", {
        headers: { upgrade: "websocket", connection: "Upgrade", "x-worker-secret": secret },
      });
    const unknown = `mr_work_${"A".repeat(43)}`;
    for (;;) {
      const response = await ask(unknown);
      if (response.status === 401) continue;
      expect([response.status, response.headers.get("retry-after")]).toEqual([503, "5"]);
      expect(await response.json()).toMatchObject({ error: { code: "keys_unavailable" } });
      break;
    }
    expect((await ask("wrong")).status).toBe(401);
  });
});
