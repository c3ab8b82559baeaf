import { afterEach, describe, expect, test } from "bun:test";
import { AdminRefusal, createAdminDesk } from "../../../src/server/admin/admin-desk.ts";
import { requestRoute, type RequestDetails } from "../../../src/server/bodies/request-route.ts";
import { MemoryBodyStore } from "../../support/memory-body-store.ts";
import { MemoryUsageStore } from "../../support/memory-usage-store.ts";
import { row } from "../usage/rows.ts";

const usage = new MemoryUsageStore();
const bodies = new MemoryBodyStore();
const desk = createAdminDesk([
  requestRoute({ findRequest: (id) => usage.findRequest(id), findBodies: (id) => bodies.findBodies(id) }),
]);

async function get(id: string): Promise<RequestDetails> {
  const answer = await desk.answer("GET", `/admin/requests/${id}`, new URLSearchParams(), undefined);
  return (answer instanceof Response ? undefined : answer.body) as RequestDetails;
}

const keep = (id: string, request: Uint8Array<ArrayBuffer>, bytes = request.length) =>
  bodies.insertBodies([{ id, at: 1, request: { kept: request, bytes }, answer: { kept: request, bytes } }]);
const utf8 = (text: string) => new Uint8Array(Buffer.from(text));

afterEach(() => {
  usage.rows.clear();
  bodies.rows.clear();
});

describe("GET /admin/requests/{id}", () => {
  test("shows the record of a request, and no bodies where none are kept", async () => {
    await usage.insertUsage([row("a", { model: "x" }), row("b")]);
    expect(await get("a")).toMatchObject({ request: { id: "a", model: "x" }, bodies: null });
  });

  test("shows bodies as text where they are UTF-8, with every character", async () => {
    await usage.insertUsage([row("a")]);
    const text = '\ufeff{"q":"Zoë 🔑\\u0000"}\r\n\0';
    await keep("a", utf8(text));
    const body = { encoding: "utf-8", body: text, bytes: Buffer.byteLength(text), truncated: false };
    expect((await get("a")).bodies).toEqual({ request: body, answer: body } as never);
  });

  test("shows others in base64, and says so", async () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, n) => n);
    await keep("a", bytes);
    expect(await get("a")).toMatchObject({
      request: null,
      bodies: { request: { encoding: "base64", body: Buffer.from(bytes).toString("base64"), bytes: 256 } },
    });
  });

  test("shows the text of a body that was cut, without the rest of its last character", async () => {
    for (const [text, size] of [
      ["é", 2],
      ["€", 3],
      ["🔑", 4],
    ] as const) {
      for (let there = 0; there <= size; there++) {
        await keep(`${text}${there}`, utf8(`abc${text}`).slice(0, 3 + there), 99);
        expect((await get(`${text}${there}`)).bodies?.request).toEqual({
          encoding: "utf-8",
          body: there === size ? `abc${text}` : "abc",
          bytes: 99,
          truncated: true,
        });
      }
    }
    await keep("bad", Uint8Array.from([0xff, 0x80, 0x80, 0x80, 0x80, 0x80]), 99);
    expect((await get("bad")).bodies?.request.encoding).toBe("base64");
    // What broke off in a character by itself was not cut here.
    await keep("broken", utf8("abc🔑").slice(0, 5));
    expect((await get("broken")).bodies?.request).toMatchObject({ encoding: "base64", truncated: false });
  });

  test("says that there is none", async () => {
    const asking = get("nowhere");
    expect(asking).rejects.toBeInstanceOf(AdminRefusal);
    expect(await asking.catch((error: AdminRefusal) => error.error)).toMatchObject({
      status: 404,
      message: 'No request with id "nowhere" is kept',
    });
  });
});
