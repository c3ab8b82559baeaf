import { CHAT } from "../contract/promise.ts";

/** Bytes (latin1) that no server may take for a request, by what is wrong with them. */
export type HostileRequests = Record<string, string>;

export const BODY = '{"model":"m","messages":[]}';
const LENGTH = BODY.length;

/** What an attacker would like to have read as a request of its own: its answer is `SMUGGLED_ANSWER`. */
export const SMUGGLED = "GET /livez HTTP/1.1\r\nHost: relay.test\r\n\r\n";
export const SMUGGLED_ANSWER = '{"status":"ok"}';

const POST = `POST ${CHAT} HTTP/1.1\r\nHost: relay.test\r\nContent-Type: application/json\r\n`;
const GET = "GET /livez HTTP/1.1\r\nHost: relay.test\r\n";

/** A POST with framing headers of its own. */
const framed = (headers: string, body = BODY) => `${POST}${headers}\r\n\r\n${body}${SMUGGLED}`;

const CHUNK = `${LENGTH.toString(16)}\r\n${BODY}\r\n`;
const chunked = (body: string) => framed("Transfer-Encoding: chunked", body);

/** Proper requests, each with an answer of its own, after which the connection goes on. */
export const proper: HostileRequests = {
  "a length": `${POST}Content-Length: ${LENGTH}\r\n\r\n${BODY}`,
  chunks: `${POST}Transfer-Encoding: chunked\r\n\r\n${CHUNK}0\r\n\r\n`,
  "chunks in capitals": `${POST}TRANSFER-ENCODING: CHUNKED\r\n\r\n${CHUNK}0\r\n\r\n`,
  // RFC 9110 §5.6.1.2: empty places of a list count for nothing.
  "chunks, with a comma": `${POST}Transfer-Encoding: chunked,\r\n\r\n${CHUNK}0\r\n\r\n`,
  "an extension": `${POST}Transfer-Encoding: chunked\r\n\r\n${LENGTH.toString(16)};a="b"\r\n${BODY}\r\n0\r\n\r\n`,
  "the same length twice": `${POST}Content-Length: ${LENGTH}\r\nContent-Length: ${LENGTH}\r\n\r\n${BODY}`,
  "150 headers": `${POST}${Array.from({ length: 150 }, (_, n) => `X-${n}: a\r\n`).join("")}Content-Length: ${LENGTH}\r\n\r\n${BODY}`,
};

/** RFC 9112 §6.3: a length that is not one, or not one alone. */
export const lengths: HostileRequests = {
  "and chunked": framed(`Content-Length: ${LENGTH}\r\nTransfer-Encoding: chunked`, "0\r\n\r\n"),
  "behind chunked": framed("Transfer-Encoding: chunked\r\nContent-Length: 4", "0\r\n\r\n"),
  "0 behind chunked": framed("Transfer-Encoding: chunked\r\nContent-Length: 0", "0\r\n\r\n"),
  two: framed(`Content-Length: ${LENGTH}\r\nContent-Length: 0`),
  "two in other order": framed(`Content-Length: 0\r\nContent-Length: ${LENGTH}`),
  list: framed(`Content-Length: ${LENGTH}, ${LENGTH}`),
  "list of different ones": framed(`Content-Length: ${LENGTH}, 0`),
  plus: framed(`Content-Length: +${LENGTH}`),
  minus: framed("Content-Length: -1"),
  hexadecimal: framed("Content-Length: 0x1b"),
  exponent: framed("Content-Length: 27e0"),
  fraction: framed("Content-Length: 27.0"),
  "spaces within": framed("Content-Length: 2 7"),
  empty: framed("Content-Length: "),
  quoted: framed('Content-Length: "27"'),
  "over 64 bits": framed("Content-Length: 18446744073709551643"),
  "over 63 bits": framed("Content-Length: 9223372036854775835"),
  "20 digits": framed("Content-Length: 99999999999999999999"),
  "space before the colon": framed(`Content-Length : ${LENGTH}`),
  "space before the name": framed(` Content-Length: ${LENGTH}`),
  "vertical tab": framed(`Content-Length:\u000b${LENGTH}`),
  "NUL behind": framed(`Content-Length: ${LENGTH}\u0000`),
  "other digits": framed("Content-Length: \u00b2\u00b7"),
};

const te = (value: string) => framed(`Transfer-Encoding: ${value}`, `${CHUNK}0\r\n\r\n`);

/** RFC 9112 §6.1: chunked alone, once. */
export const codings: HostileRequests = {
  xchunked: te("xchunked"),
  identity: te("identity"),
  "identity with a length": framed(`Transfer-Encoding: identity\r\nContent-Length: ${LENGTH}`),
  gzip: te("gzip"),
  "gzip, chunked": te("gzip, chunked"),
  "chunked, identity": te("chunked, identity"),
  "chunked, chunked": te("chunked, chunked"),
  "two lines": te("chunked\r\nTransfer-Encoding: chunked"),
  "two lines, one of them identity": te("chunked\r\nTransfer-Encoding: identity"),
  empty: te(""),
  "empty with a length": framed(`Transfer-Encoding: \r\nContent-Length: ${LENGTH}`),
  quoted: te('"chunked"'),
  parameter: te("chunked;q=1"),
  "space before the colon": framed("Transfer-Encoding : chunked", `${CHUNK}0\r\n\r\n`),
  "space before the name": framed(" Transfer-Encoding: chunked", `${CHUNK}0\r\n\r\n`),
  "vertical tab": te("\u000bchunked"),
  NUL: te("chunked\u0000"),
  folded: framed("Transfer-Encoding:\r\n chunked", `${CHUNK}0\r\n\r\n`),
  "behind a bare CR": framed("X: y\rTransfer-Encoding: chunked", `${CHUNK}0\r\n\r\n`),
  "behind a bare LF": framed("X: y\nTransfer-Encoding: chunked", `${CHUNK}0\r\n\r\n`),
  "HTTP/1.0": te("chunked").replace("HTTP/1.1", "HTTP/1.0"),
};

const HEX = LENGTH.toString(16);

/** RFC 9112 §7.1. The head is right, so the request is begun: it must not get further. */
export const chunks: HostileRequests = {
  "size over 64 bits": chunked(`1000000000000001b\r\n${BODY}\r\n0\r\n\r\n`),
  "size of all ones": chunked(`ffffffffffffffff\r\n${BODY}\r\n0\r\n\r\n`),
  "size minus": chunked(`-${HEX}\r\n${BODY}\r\n0\r\n\r\n`),
  "size plus": chunked(`+${HEX}\r\n${BODY}\r\n0\r\n\r\n`),
  "size 0x": chunked(`0x${HEX}\r\n${BODY}\r\n0\r\n\r\n`),
  "size that is none": chunked(`g\r\n${BODY}\r\n0\r\n\r\n`),
  "size missing": chunked(`\r\n${BODY}\r\n0\r\n\r\n`),
  "space before the size": chunked(` ${HEX}\r\n${BODY}\r\n0\r\n\r\n`),
  "space behind the size": chunked(`${HEX} \r\n${BODY}\r\n0\r\n\r\n`),
  "more data than the size": chunked(`3\r\n${BODY}\r\n0\r\n\r\n`),
  "no line break behind the data": chunked(`${HEX}\r\n${BODY}XX0\r\n\r\n`),
  "bare LF behind the data": chunked(`${HEX}\r\n${BODY}\n0\r\n\r\n`),
  "bare LF behind the size": chunked(`${HEX}\n${BODY}\r\n0\r\n\r\n`),
  "bare LF in an extension": chunked(`${HEX};a\nb\r\n${BODY}\r\n0\r\n\r\n`),
  "bare CR in an extension": chunked(`${HEX};a\rb\r\n${BODY}\r\n0\r\n\r\n`),
  "extension of 1 MB": chunked(`${HEX};${"a".repeat(1 << 20)}\r\n${BODY}\r\n0\r\n\r\n`),
  "bare LF at the end": chunked(`${CHUNK}0\n\n`),
  "bare LF behind the last size": chunked(`${CHUNK}0\n\r\n`),
  "bare LF behind the last chunk": chunked(`${CHUNK}0\r\n\n`),
  "other bytes behind the last chunk": chunked(`${CHUNK}0\r\nXY`),
  // Trailers are allowed (§7.1.2); Bun reads none, and goes no further on the connection.
  "a trailer with a length": chunked(`${CHUNK}0\r\nContent-Length: 40\r\n\r\n`),
  "100,000 trailers": chunked(`${CHUNK}0\r\n${"X: a\r\n".repeat(100_000)}\r\n`),
};

const bad = (lines: string) => `${GET}${lines}\r\n\r\n${SMUGGLED}`;

/** RFC 9112 §2.2, §3 and §5. */
export const lines: HostileRequests = {
  "bare LF alone": `GET /livez HTTP/1.1\nHost: relay.test\n\n${SMUGGLED}`,
  "bare LF in the head": bad("X: y\nZ: y"),
  "bare LF before the end": `${GET}X: y\n\r\n${SMUGGLED}`,
  "bare LF at the end": `${GET}\n${SMUGGLED}`,
  "bare CR alone": `GET /livez HTTP/1.1\rHost: relay.test\r\r${SMUGGLED}`,
  "bare CR in a value": bad("X: a\rb"),
  "folded value": bad("X: a\r\n b"),
  "folded value with a tab": bad("X: a\r\n\tb"),
  "folded first line": `GET /livez HTTP/1.1\r\n X: a\r\nHost: relay.test\r\n\r\n${SMUGGLED}`,
  "NUL in a name": bad("X\u0000Y: a"),
  "NUL in a value": bad("X: a\u0000b"),
  "NUL in the path": `GET /livez\u0000 HTTP/1.1\r\nHost: relay.test\r\n\r\n${SMUGGLED}`,
  "empty name": bad(": a"),
  "no colon": bad("X"),
  "space in a name": bad("X Y: a"),
  "a name with other letters": bad("X-\u00e9: a"),
  "no Host": `GET /livez HTTP/1.1\r\n\r\n${SMUGGLED}`,
  "no version": `GET /livez\r\n\r\n${SMUGGLED}`,
  "version 2.0": `GET /livez HTTP/2.0\r\nHost: relay.test\r\n\r\n${SMUGGLED}`,
  "version 1.1x": `GET /livez HTTP/1.1x\r\nHost: relay.test\r\n\r\n${SMUGGLED}`,
  "space before the line": ` ${GET}\r\n${SMUGGLED}`,
  "two spaces in the line": `GET  /livez HTTP/1.1\r\nHost: relay.test\r\n\r\n${SMUGGLED}`,
  "space in the path": `GET /livez x HTTP/1.1\r\nHost: relay.test\r\n\r\n${SMUGGLED}`,
  "no method": `/livez HTTP/1.1\r\nHost: relay.test\r\n\r\n${SMUGGLED}`,
  "a method with a bracket": `GE(T /livez HTTP/1.1\r\nHost: relay.test\r\n\r\n${SMUGGLED}`,
  "a preface of HTTP/2": `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${SMUGGLED}`,
  "a ClientHello": `\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003${"a".repeat(100)}\r\n\r\n${SMUGGLED}`,
  "all bytes": `${String.fromCharCode(...Array.from({ length: 256 }, (_, byte) => byte))}\r\n\r\n${SMUGGLED}`,
};

const MEGABYTE = "a".repeat(1 << 20);
const headers = (count: number) => Array.from({ length: count }, (_, n) => `X-${n}: a`).join("\r\n");

/** More than a head may hold. */
export const floods: HostileRequests = {
  "a request line of 1 MB": `GET /${MEGABYTE} HTTP/1.1\r\nHost: relay.test\r\n\r\n${SMUGGLED}`,
  "a query of 20 KB": `GET /livez?${MEGABYTE.slice(0, 20_000)} HTTP/1.1\r\nHost: relay.test\r\n\r\n${SMUGGLED}`,
  "a method of 1 MB": `${MEGABYTE} /livez HTTP/1.1\r\nHost: relay.test\r\n\r\n${SMUGGLED}`,
  "a value of 1 MB": bad(`X: ${MEGABYTE}`),
  "a name of 1 MB": bad(`${MEGABYTE}: x`),
  "17 KB of headers": bad(headers(1_300)),
  "one header of 17 KB": bad(`X: ${MEGABYTE.slice(0, 17 * 1024)}`),
  "250 headers": bad(headers(250)),
  "100,000 headers": bad(headers(100_000)),
  "1 MB of empty lines": `${"\r\n".repeat(1 << 19)}${SMUGGLED}`,
};
