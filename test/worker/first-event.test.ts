import { describe, expect, test } from "bun:test";
import { FIRST_EVENT_BYTES, readFirstEvent } from "../../src/worker/first-event.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

function errorIn(text: string, ended = false): { status: number; body: unknown } | undefined {
  const { error } = readFirstEvent(encode(text), ended);
  return error && { status: error.status, body: JSON.parse(new TextDecoder().decode(error.body)) as unknown };
}

describe("First event", () => {
  test("is not complete before its blank line", () => {
    expect(readFirstEvent(encode('data: {"error":{"code":400}}\n'), false).complete).toBe(false);
    expect(readFirstEvent(encode(": keep-alive\n\n"), false).complete).toBe(false);
  });

  test("is no error when it is a token", () => {
    const text = 'data: {"choices":[{"delta":{"content":"error"}}],"error":null}\n\n';
    expect(readFirstEvent(encode(text), false)).toEqual({ complete: true, error: undefined });
  });

  test("is no error when only a later event is one", () => {
    expect(errorIn('data: {"a":1}\n\ndata: {"error":{"code":500}}\n\n')).toBeUndefined();
  });

  test("gives the numeric status that an OpenAI error carries, and the error as body", () => {
    const error = { message: "too long", type: "BadRequestError", code: 400 };
    expect(errorIn(`data: ${JSON.stringify({ error })}\n\ndata: [DONE]\n\n`)).toEqual({
      status: 400,
      body: { error },
    });
  });

  test.each([
    ["rate_limit_exceeded", 429],
    ["overloaded_error", 529],
    ["invalid_request_error", 400],
    ["authentication_error", 401],
    ["not_found_error", 404],
    ["server_error", 500],
    ["something_else", 502],
  ])("gives an error of type %s the status %d", (type, status) => {
    expect(errorIn(`data: {"error":{"type":"${type}","message":"m"}}\r\n\r\n`)?.status).toBe(status);
  });

  test("keeps the dialect of an Anthropic error", () => {
    const data = { type: "error", error: { type: "overloaded_error", message: "Overloaded" } };
    expect(errorIn(`event: error\ndata: ${JSON.stringify(data)}\n\n`)).toEqual({ status: 529, body: data });
  });

  test("is found behind keep-alive comments, in a field of its own, flat, and without its blank line", () => {
    expect(errorIn(': ping\n\n: ping\n\nerror: {"code":500,"message":"m"}\n\n')).toEqual({
      status: 500,
      body: { error: { code: 500, message: "m" } },
    });
    expect(errorIn('data: {"type":"error","code":"rate_limit_exceeded","message":"m"}\n\n')?.status).toBe(
      429,
    );
    expect(errorIn('data: {"error":"it broke"}', true)?.status).toBe(502);
    expect(errorIn(': ping\ndata: {"err\\u006fr":"it broke"}\n\n')?.status).toBe(502);
    expect(errorIn('data: {"type":"\\u0065rror","code":503}\n\n')?.status).toBe(503);
  });

  test("gives up after 64 KiB", () => {
    expect(readFirstEvent(encode(`data: ${"x".repeat(FIRST_EVENT_BYTES)}`), false).complete).toBe(true);
  });
});
