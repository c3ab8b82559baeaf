import { describe, expect, test } from "bun:test";
import { HttpSyntaxError, ResponseReader } from "../../bench/http.ts";

const CHUNKED =
  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nC;ext=1\r\n, my \r\nworld\r\n0\r\nX-Trailer: 1\r\n\r\n";
const FIXED = "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\nX-Id: a:b\r\n\r\nnone";
const EMPTY = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/** Pushes `text` in pieces of `size` bytes and notes what comes out. */
function read(text: string, size: number) {
  const seen: { status: number; body: string; keepAlive?: boolean }[] = [];
  const reader = new ResponseReader({
    head: (status) => seen.push({ status, body: "" }),
    body: (from, start, end) => {
      const last = seen.at(-1);
      if (last !== undefined) last.body += from.toString("latin1", start, end);
    },
    end: (keepAlive) => {
      const last = seen.at(-1);
      if (last !== undefined) last.keepAlive = keepAlive;
    },
  });
  const bytes = Buffer.from(text, "latin1");
  for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size));
  return { seen, reader };
}

describe("ResponseReader", () => {
  for (const size of [1, 2, 3, 7, 1_000]) {
    test(`reads three responses on one connection in pieces of ${size} bytes`, () => {
      expect(read(CHUNKED + FIXED + EMPTY, size).seen).toEqual([
        {
          status: 200,
          body: "hello, my \r\nworld",
          keepAlive: true,
        },
        { status: 404, body: "none", keepAlive: true },
        { status: 200, body: "", keepAlive: false },
      ]);
    });
  }

  test("skips an informational response before the real one", () => {
    expect(read(`HTTP/1.1 100 Continue\r\n\r\n${FIXED}`, 1).seen.map(({ status }) => status)).toEqual([404]);
  });

  test("takes a body without a length until the connection closes", () => {
    const { seen, reader } = read("HTTP/1.1 200 OK\r\n\r\nsome text", 4);
    expect(seen[0]?.keepAlive).toBeUndefined();
    expect(reader.close()).toBe(true);
    expect(seen).toEqual([{ status: 200, body: "some text", keepAlive: false }]);
  });

  test("tells a response that was cut short from one that never began", () => {
    expect(read(FIXED, 9).reader.close()).toBe(true);
    expect(read(FIXED.slice(0, -1), 9).reader.close()).toBe(false);
    expect(read(CHUNKED.slice(0, -2), 9).reader.close()).toBe(false);
    expect(read(FIXED.slice(0, 12), 9).reader.close()).toBe(false);
  });

  test.each([
    ["a head that is not HTTP", "SSH-2.0-OpenSSH\r\n\r\n"],
    ["a chunk size that is not a number", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
    ["a chunk without a size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n"],
    ["a head without an end", `HTTP/1.1 200 OK\r\nx: ${"y".repeat(70_000)}`],
  ])("refuses %s", (_what, text) => {
    expect(() => read(text, 4_096)).toThrow(HttpSyntaxError);
  });
});
