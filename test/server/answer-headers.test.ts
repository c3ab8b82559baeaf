import { describe, expect, test } from "bun:test";
import { AnswerHeaders } from "../../src/server/answer-headers.ts";

/** What a client is sent: `Headers` that are told apart only when they are read are no copy. */
function answer(made: AnswerHeaders, fields: Record<string, string>): Response {
  return new Response("x", { headers: made.of(fields) });
}

function fieldsOf({ headers }: Response): Record<string, string> {
  return Object.fromEntries(headers);
}

describe("The headers of an answer", () => {
  const made = new AnswerHeaders();
  const one = { "content-type": "application/json", "x-request-id": "1", "server-timing": "a" };

  test("are the given ones, whatever those of the answers before it were", () => {
    const kinds: Record<string, string>[] = [
      one,
      { ...one, "x-request-id": "2" },
      { ...one, extra: "1" },
      { "content-type": "application/json" },
      {},
      { "x-request-id": "3", "content-type": "application/json", "server-timing": "a" },
      one,
      { "content-type": "text/plain", "x-request-id": "1", "retry-after": "a" },
      { "7": "number", "content-type": "" },
    ];
    const answers = [...kinds, ...kinds.toReversed()].map((fields) => ({
      fields,
      response: answer(made, fields),
    }));
    for (const { fields, response } of answers)
      expect(fieldsOf(response)).toEqual(fieldsOf(new Response("x", { headers: fields })));
  });

  test("stay as they are when a later answer, or another hand, changes its own", () => {
    const first = answer(made, one);
    const second = answer(made, { ...one, "x-request-id": "2" });
    second.headers.set("access-control-allow-origin", "*");
    const third = answer(made, { ...one, "x-request-id": "3" });
    expect(fieldsOf(first)).toEqual(one);
    expect(fieldsOf(second)).toEqual({
      ...one,
      "x-request-id": "2",
      "access-control-allow-origin": "*",
    });
    expect(fieldsOf(third)).toEqual({ ...one, "x-request-id": "3" });
  });

  test("reach clients as each was made, sent side by side", async () => {
    using server = Bun.serve({
      port: 0,
      fetch: async (request) => {
        const id = new URL(request.url).searchParams.get("id") ?? "";
        const response = answer(made, { ...one, "x-request-id": id });
        await request.text();
        return response;
      },
    });
    const ids = Array.from({ length: 200 }, (_, n) => String(n));
    const got = await Promise.all(
      ids.map(async (id) => {
        const reply = await fetch(new URL(`?id=${id}`, server.url), { method: "POST", body: "x" });
        return reply.headers.get("x-request-id");
      }),
    );
    expect(got).toEqual(ids);
  });
});
