import { describe, expect, test } from "bun:test";
import { ResponseParser, type ResponseHandler } from "../../../src/worker/http/response-parser.ts";
import { hear, singleBytes, type Hearing } from "../../support/heard-response.ts";

const OK = "HTTP/1.1 200 OK\r\n";
const CHUNKED = `${OK}transfer-encoding: chunked\r\n\r\n`;
const COUNTED = `${OK}content-length: 5\r\n\r\nhello`;

/** Body and fate of the connection, of a response in one piece. */
function outcome(response: string, hearing: Hearing = {}) {
  const { heads, body, reusable, error } = hear([response], hearing);
  return { status: heads.at(-1)?.status, body, reusable, error };
}

const complete = (status: number, body: string, reusable: boolean) => ({
  status,
  body,
  reusable,
  error: undefined,
});

function fieldsOf(head: string) {
  return hear([`${OK}${head}content-length: 0\r\n\r\n`]).heads[0]?.fields;
}

describe("Framing of a response", () => {
  test("ends a body of a known length with its last byte", () => {
    expect(outcome(COUNTED)).toEqual(complete(200, "hello", true));
    expect(outcome(`${OK}content-length: 0\r\n\r\n`)).toEqual(complete(200, "", true));
  });

  test("has no body in an answer to HEAD, whatever length it declares", () => {
    for (const fields of [
      "content-length: 5\r\n",
      "transfer-encoding: chunked\r\n",
      "content-length: x\r\n",
      "",
    ])
      expect(outcome(`${OK}${fields}\r\n`, { bodiless: true })).toEqual(complete(200, "", true));
  });

  test.each([204, 304])("has no body with status %d", (status) => {
    for (const fields of ["content-length: 5\r\n", "transfer-encoding: chunked\r\n", ""])
      expect(outcome(`HTTP/1.1 ${status} X\r\n${fields}\r\n`)).toEqual(complete(status, "", true));
  });

  test("takes a length that stands there twice, and refuses two different ones", () => {
    const twice = "content-length: 5\r\ncontent-length: 5\r\n\r\nhello";
    expect(outcome(OK + twice)).toEqual(complete(200, "hello", true));
    expect(outcome(`${OK}content-length: 5, 5\r\n\r\nhello`)).toEqual(complete(200, "hello", true));
    for (const lengths of ["content-length: 5\r\ncontent-length: 6", "content-length: 5,6"])
      expect(outcome(`${OK}${lengths}\r\n\r\nhello!`).error).toBe("InvalidHTTPResponse");
  });

  test.each(["", "-1", "+5", "5.0", "0x5", "5 5", "5,", ",5", "1e3", "5\u00a0", "9999999999999999"])(
    "refuses the length %j",
    (length) => {
      expect(outcome(`${OK}content-length: ${length}\r\n\r\nhello`).error).toBe("InvalidHTTPResponse");
    },
  );

  test("joins chunks, with extensions, padded sizes and trailers left out", () => {
    const chunks = '5;a=b\r\nhello\r\n1 \r\n \r\n00B\t; x="y"\r\nworld, you!\r\n';
    for (const last of ["0\r\n\r\n", "0;x\r\nt: 1\r\nu: 2\r\n\r\n", "000\r\nt: 1\r\n\r\n"])
      expect(outcome(CHUNKED + chunks + last)).toEqual(complete(200, "hello world, you!", true));
  });

  test("takes the name of the chunked coding in any case, and no other coding", () => {
    expect(outcome(`${OK}Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n`)).toEqual(complete(200, "", true));
    for (const coding of ["gzip", "gzip, chunked", "chunked, chunked", "identity", ""])
      expect(outcome(`${OK}transfer-encoding: ${coding}\r\n\r\n0\r\n\r\n`).error).toBe("InvalidHTTPResponse");
  });

  test("believes the chunks when a length stands there too, and uses the connection no more", () => {
    const both = `${OK}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`;
    expect(outcome(both)).toEqual(complete(200, "hello", false));
  });

  test("reads to the end of the connection when nothing declares a length", () => {
    expect(outcome(`${OK}\r\nhello`)).toEqual({ ...complete(200, "hello", false), reusable: undefined });
    expect(outcome(`${OK}\r\nhello`, { closed: true })).toEqual(complete(200, "hello", false));
  });

  test("keeps a connection of HTTP/1.0 only if both ends say so", () => {
    const old = COUNTED.replace("1.1", "1.0");
    expect(outcome(old)).toEqual(complete(200, "hello", false));
    const kept = old.replace("content", "Connection: Keep-Alive\r\ncontent");
    expect(outcome(kept)).toEqual(complete(200, "hello", true));
  });

  test("does not trust chunks of HTTP/1.0 with another answer", () => {
    const chunks = "connection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    expect(outcome(`HTTP/1.0 200 OK\r\n${chunks}`)).toEqual(complete(200, "hello", false));
  });

  test("does not use a connection again that the server says it closes", () => {
    for (const connection of ["close", "Close", "keep-alive, close"])
      expect(outcome(COUNTED.replace("content", `connection: ${connection}\r\ncontent`)).reusable).toBe(
        false,
      );
  });

  test.each([
    ["of a known length", COUNTED, {}],
    ["of chunks", `${CHUNKED}0\r\n\r\n`, {}],
    ["of no bytes", `${OK}content-length: 0\r\n\r\n`, {}],
    ["of a status without one", "HTTP/1.1 204 No\r\n\r\n", {}],
    ["left out because of HEAD", `${OK}content-length: 5\r\n\r\n`, { bodiless: true }],
  ])("does not use a connection again on which bytes follow a body %s", (_, response, hearing) => {
    expect(outcome(response, hearing).reusable).toBe(true);
    expect(outcome(`${response}x`, hearing).reusable).toBe(false);
  });

  test.each([
    ["nothing", ""],
    ["part of a head", "HTTP/1.1 200 OK\r\nconte"],
    ["part of a body", COUNTED.slice(0, -1)],
    ["part of a chunk", `${CHUNKED}5\r\nhel`],
    ["no last chunk", `${CHUNKED}5\r\nhello\r\n`],
    ["part of the trailer", `${CHUNKED}0\r\nt: 1\r\n`],
    ["only an interim response", "HTTP/1.1 100 Continue\r\n\r\n"],
  ])("is not complete when the connection ends behind %s", (_, response) => {
    expect(outcome(response, { closed: true }).error).toBe("ConnectionClosed");
  });
});

describe("Head of a response", () => {
  test("is that of the final response, interim ones left out", () => {
    const interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
    expect(hear([interim + COUNTED])).toEqual(hear([COUNTED]));
  });

  test("is refused when it changes the protocol", () => {
    expect(outcome("HTTP/1.1 101 X\r\nupgrade: foo\r\n\r\n").error).toBe("UnrequestedUpgrade");
  });

  test("may end its lines with bare line feeds", () => {
    expect(outcome(COUNTED.replaceAll("\r\n", "\n"))).toEqual(complete(200, "hello", true));
    const chunks = `${CHUNKED}5\r\nhello\r\n0\r\nt: 1\r\n\r\n`;
    expect(outcome(chunks.replaceAll("\r\n", "\n"))).toEqual(complete(200, "hello", true));
  });

  test("has values that go on in the next line", () => {
    expect(fieldsOf("a: b\r\n c\r\n\td\r\n")?.["a"]).toBe("b c d");
    expect(outcome(`${OK} a: b\r\n\r\n`).error).toBe("InvalidHTTPResponse");
  });

  test("has fields of any name, and none that nobody sent", () => {
    const { fields } = hear([`${OK}constructor: a\r\n__proto__: b\r\n__PROTO__: c\r\n\r\n`]).heads[0]!;
    expect(Object.entries(fields)).toEqual([
      ["constructor", "a"],
      ["__proto__", "b, c"],
    ]);
    let told: object = {};
    const handler: ResponseHandler = { head: (_, given) => (told = given), body() {}, end() {} };
    new ResponseParser(handler, false).push(Buffer.from(`${OK}\r\n`));
    expect("toString" in told).toBe(false);
  });

  test("has fields by lower-case name, their values trimmed and joined", () => {
    expect(fieldsOf("X-A:  1 \r\nx-a:2\r\nx-b:\r\n")).toEqual({
      "x-a": "1, 2",
      "x-b": "",
      "content-length": "0",
    });
  });

  test("has values of which only the spaces round them are left out", () => {
    const bytes = Buffer.from("voilà").toString("latin1");
    expect(fieldsOf(`a: \t${bytes}\t \r\n ${bytes}\r\n`)?.["a"]).toBe(`${bytes} ${bytes}`);
  });

  test.each([
    "no colon",
    ": x",
    "a b: x",
    "a : x",
    "ä: x",
    "a\0: x",
    "a: x\0",
    "a: x\ry: z",
    "a: x\r\n y\rz",
  ])("is refused with the field line %j", (line) =>
    expect(outcome(`${OK}${line}\r\n\r\n`).error).toBe("InvalidHTTPResponse"),
  );

  test("is read the same again, and after thousands of others", () => {
    const heads = ["X-A: 1\r\nx-a: 2\r\n more\r\nx-b: 1\n", "x-b: 1\r\nX-A: 1\r\n"];
    const read = () => heads.map(fieldsOf);
    const first = read();
    expect(first[0]).toEqual({ "x-a": "1, 2 more", "x-b": "1", "content-length": "0" });
    expect(read()).toEqual(first);
    for (let i = 0; i < 2_000; i++) expect(fieldsOf(`x-a: ${i}\r\n`)?.["x-a"]).toBe(`${i}`);
    expect(read()).toEqual(first);
    for (let times = 0; times < 2; times++) {
      expect(outcome(`${OK}x-a: 1\r\nx-a : 1\r\n\r\n`).error).toBe("InvalidHTTPResponse");
      expect(outcome(`${OK}x-a: 1\0\r\n\r\n`).error).toBe("InvalidHTTPResponse");
      expect(outcome("HTTP/1.1 2000 OK\r\n\r\n").error).toBe("InvalidHTTPResponse");
    }
  });

  test.each([
    "SSH-2.0-OpenSSH_9.6\r\n",
    "\x15\x03\x01\x00\x02\x02\x16",
    "HTTP/2 200\r\n\r\n",
    "HTTP/1.2 200 OK\r\n\r\n",
    "HTTP/1.1 20 OK\r\n\r\n",
    "HTTP/1.1 2000 OK\r\n\r\n",
    "http/1.1 200 OK\r\n\r\n",
    " HTTP/1.1 200 OK\r\n\r\n",
  ])("is refused as it begins with %j", (response) => {
    expect(outcome(response).error).toBe("InvalidHTTPResponse");
    expect(hear(singleBytes(response)).error).toBe("InvalidHTTPResponse");
  });

  test("is refused when it is too large, finished or not, in one piece or in many", () => {
    const long = `${OK}a: ${"x".repeat(65_536)}`;
    for (const response of [long, `${long}\r\n\r\n`]) {
      expect(outcome(response).error).toBe("ResponseHeadersTooLarge");
      expect(hear(response.match(/[^]{1,1000}/g)!).error).toBe("ResponseHeadersTooLarge");
    }
    const rest = 65_536 - OK.length - "a: \r\n\r\n".length;
    expect(outcome(`${OK}a: ${"x".repeat(rest)}\r\n\r\n`).error).toBeUndefined();
    expect(outcome(`${OK}a: ${"x".repeat(rest + 1)}\r\n\r\n`).error).toBe("ResponseHeadersTooLarge");
  });

  test("is no HTTP, rather than too large, when it is long and something else", () => {
    expect(outcome("x".repeat(70_000)).error).toBe("InvalidHTTPResponse");
  });

  test("has at most 256 fields", () => {
    expect(outcome(`${OK}${"a: b\r\n".repeat(256)}\r\n`).error).toBeUndefined();
    expect(outcome(`${OK}${"a: b\r\n".repeat(257)}\r\n`).error).toBe("ResponseHeadersTooLarge");
  });

  test("costs as much with many lines as with one, when it comes byte by byte", () => {
    const cost = (fields: string): number => {
      const bytes = Buffer.from(OK + fields);
      const parser = new ResponseParser({ head() {}, body() {}, end() {} }, false);
      const begun = performance.now();
      for (const byte of bytes) parser.push(Buffer.from([byte]));
      return performance.now() - begun;
    };
    // Looking at all lines again for each byte takes some 40 times as long.
    expect(cost("a:b\n".repeat(16_000))).toBeLessThan(10 * cost(`a:${"b".repeat(64_000)}`));
  });
});

describe("Chunks of a response", () => {
  test("are told as one part when they come in one read, with the bytes of each", () => {
    const calls: string[] = [];
    const chunks = Array.from({ length: 50 }, (_, i) => `3\r\n${String(i).padStart(3, "-")}\r\n`);
    const { body } = hear([CHUNKED, `${chunks.join("")}3\r\nab`, "c\r\n0\r\n\r\n"], { calls });
    expect(calls).toEqual(["head 200", "body 152", "body 1", "end"]);
    expect(body).toBe(`${Array.from({ length: 50 }, (_, i) => String(i).padStart(3, "-")).join("")}abc`);
  });

  test.each([
    ["no size", "\r\n"],
    ["only an extension", ";a=b\r\n"],
    ["a size that is no number", "g\r\n"],
    ["a negative size", "-5\r\n"],
    ["a prefixed size", "0x5\r\n"],
    ["a size beyond exact numbers", "10000000000000\r\n"],
    ["more data than its size", "1\r\nab\r\n"],
    ["an extension that does not end", `1;${"x".repeat(16_384)}`],
    ["no end of its size", "1".repeat(14)],
  ])("are refused with %s", (_, chunk) => {
    expect(outcome(CHUNKED + chunk).error).toBe("InvalidHTTPResponse");
    expect(hear(singleBytes(CHUNKED + chunk)).error).toBe("InvalidHTTPResponse");
  });

  test("have no size that a bare carriage return continues", () => {
    expect(outcome(`${CHUNKED}1\r0\r\na\r\n0\r\n\r\n`)).toEqual(complete(200, "a", true));
  });

  test("may be large, of which nothing is held", () => {
    const huge = hear([`${CHUNKED}fffffffffffff\r\n`, "abc"]);
    expect([huge.body, huge.error, huge.reusable]).toEqual(["abc", undefined, undefined]);
  });

  test("end with trailer fields of limited size", () => {
    const trailer = `t: ${"x".repeat(8_000)}\r\n`;
    expect(outcome(`${CHUNKED}0\r\n${trailer.repeat(2)}\r\n`).error).toBeUndefined();
    expect(outcome(`${CHUNKED}0\r\n${trailer.repeat(3)}\r\n`).error).toBe("InvalidHTTPResponse");
  });
});

describe("Response in pieces", () => {
  const fields = "x-a: 1\r\n folded\r\n__proto__: y\r\n";
  const responses: [string, string, Hearing][] = [
    ["of a known length", `${OK}${fields}content-length: 11\r\n\r\nhello world`, {}],
    ["of chunks", `${CHUNKED}5;a\r\nhello\r\n6\r\n world\r\n0\r\nt: 1\r\n\r\n`, {}],
    ["of chunks with bare line feeds", `${CHUNKED}5\nhello\n0\nt: 1\n\n`.replaceAll("\r", ""), {}],
    ["until the connection ends", `HTTP/1.0 200 OK\r\n${fields}\r\nhello world`, { closed: true }],
    ["after interim ones", `HTTP/1.1 100 C\r\n\r\nHTTP/1.1 102 P\r\na: b\r\n\r\n${COUNTED}`, {}],
    ["without a body", `HTTP/1.1 204 X\r\n${fields}\r\n`, {}],
    ["followed by something", `${CHUNKED}1\r\na\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n`, {}],
    ["cut short", `${CHUNKED}5\r\nhel`, { closed: true }],
    ["broken", `${CHUNKED}5\r\nhello!\r\n`, {}],
  ];
  test.each(responses)("is the same as whole, %s", (_, response, hearing) => {
    const whole = hear([response], hearing);
    for (let at = 1; at < response.length; at++)
      expect(hear([response.slice(0, at), response.slice(at)], hearing)).toEqual(whole);
    expect(hear(singleBytes(response), hearing)).toEqual(whole);
  });
});

describe("Stopped parser", () => {
  /** Calls told of a response, of which the one called `by` stops the parser. */
  function toldUntil(by: keyof ResponseHandler, response: string): string[] {
    const told: string[] = [];
    const tell = (name: keyof ResponseHandler) => () => {
      told.push(name);
      if (name === by) parser.stop();
    };
    const handler = { head: tell("head"), body: tell("body"), end: tell("end") };
    const parser = new ResponseParser(handler, false);
    parser.push(Buffer.from(response));
    parser.push(Buffer.from(response));
    parser.close();
    return told;
  }

  const whole = [
    COUNTED,
    `${OK}content-length: 0\r\n\r\n`,
    "HTTP/1.1 204 X\r\n\r\n",
    `${CHUNKED}1\r\na\r\n0\r\n\r\n`,
    `${CHUNKED}1\r\na\r\n`,
    `${CHUNKED}2\r\na`,
    `${OK}\r\na`,
  ];

  test("tells nothing more after the head in which it is stopped", () => {
    for (const response of whole) expect(toldUntil("head", response)).toEqual(["head"]);
  });

  test("tells nothing more after the part of a body in which it is stopped", () => {
    for (const response of [...whole.slice(0, 1), ...whole.slice(3)])
      expect(toldUntil("body", response)).toEqual(["head", "body"]);
  });
});
