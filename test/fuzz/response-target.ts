import { hear, type Heard, type Hearing } from "../support/heard-response.ts";
import { Random } from "./random.ts";
import { damageBytes } from "./traffic.ts";
import type { Bytes } from "./wire.ts";

/** A response as it is written, and what must be heard of it. */
interface Written {
  bytes: Bytes;
  heard: Heard;
  hearing: Hearing;
}

const FIELDS = [
  "x-a: 1",
  "constructor: f",
  "__proto__: p",
  "X-B:\t b ",
  // Bytes of UTF-8 as Latin-1, of which the last is no space (RFC 9110 §5.6.3).
  "x-c:\u00a0\u00c3\u00a0 ",
  "date: now\r\n folded",
] as const;

/**
 * Any response is heard as it was written, however it is cut; any damage gives the same in any cut, or one
 * typed error.
 */
export function fuzzResponse(seed: number): void {
  const random = new Random(seed);
  const { bytes, heard, hearing } = random.oneIn(6) ? noise(random) : write(random);
  insistSame(hear(random.split(bytes), hearing), heard);
  for (let times = 1 + random.below(3); times > 0; times--) damageBytes(random, bytes);
  const damaged = random.oneIn(3) ? bytes.slice(0, random.below(bytes.length + 1)) : bytes;
  insistSame(hear(random.split(damaged), hearing), hear([damaged], hearing));
}

function insistSame(heard: Heard, wanted: Heard): void {
  const [is, should] = [JSON.stringify(heard), JSON.stringify(wanted)];
  if (is !== should) throw new Error(`It heard ${is} instead of ${should}`);
}

/** Bytes that are no response, which are refused as soon as they cannot be its beginning. */
function noise(random: Random): Written {
  const bytes = random.bytes(1 + random.below(200));
  if (bytes[0] === 0x48) bytes[0] = 0;
  const heard = { heads: [], body: "", reusable: undefined, error: "InvalidHTTPResponse" };
  return { bytes, heard, hearing: { closed: random.oneIn(2) } };
}

function write(random: Random): Written {
  const status = random.pick([200, 200, 201, 204, 304, 404, 500]);
  const hearing: Hearing = { bodiless: random.oneIn(8), closed: random.oneIn(2) };
  const bodiless = hearing.bodiless === true || status === 204 || status === 304;
  const text = Buffer.from(random.bytes(random.below(random.pick([1, 20, 300])))).toString("latin1");
  const framing = random.pick(["counted", "counted", "chunked", "chunked", "open"] as const);
  const old = random.oneIn(6);
  const connection = random.pick([undefined, undefined, "close", "Keep-Alive"]);
  const lines = Array.from({ length: random.below(4) }, () => random.pick(FIELDS) as string);
  if (connection !== undefined) lines.push(`Connection: ${connection}`);
  if (framing === "counted") lines.push(`Content-Length: ${text.length}`);
  if (framing === "chunked") lines.push("Transfer-Encoding: chunked");
  const interim = random.oneIn(5) ? "HTTP/1.1 100 Continue\r\nx: y\r\n\r\n" : "";
  const head = `${interim}HTTP/1.${old ? 0 : 1} ${status} It is\r\n${lines.join("\r\n")}${lines.length > 0 ? "\r\n" : ""}\r\n`;
  const body = bodiless ? "" : framing === "chunked" ? chunked(random, text) : text;
  const open = framing === "open" && !bodiless;
  const extra = !open && random.oneIn(4) ? "HTTP/1.1 200 OK\r\n\r\n" : "";
  // RFC 9112 §9.3 and §6.1, and nothing that nobody asked for.
  const keeps = connection === undefined ? !old : connection !== "close";
  const reusable = keeps && !open && !(old && framing === "chunked" && !bodiless) && extra === "";
  const ended = !open || hearing.closed === true;
  return {
    bytes: new Uint8Array(Buffer.from(bareFeeds(random, head) + body + extra, "latin1")),
    heard: {
      heads: [{ status, fields: fieldsOf(lines) }],
      body: bodiless ? "" : text,
      reusable: ended ? reusable : undefined,
      error: undefined,
    },
    hearing,
  };
}

function bareFeeds(random: Random, head: string): string {
  return random.oneIn(4) ? head.replaceAll("\r\n", () => (random.oneIn(2) ? "\n" : "\r\n")) : head;
}

function chunked(random: Random, text: string): string {
  let out = "";
  for (let at = 0; at < text.length;) {
    const data = text.slice(at, at + 1 + random.below(30));
    const size = data.length.toString(16).padStart(1 + random.below(3), "0");
    out += `${random.oneIn(2) ? size : size.toUpperCase()}${random.pick(["", "", ";a=b", " "])}\r\n${data}\r\n`;
    at += data.length;
  }
  return `${out}0\r\n${random.oneIn(3) ? "x-sum: 1\r\n" : ""}\r\n`;
}

function fieldsOf(lines: readonly string[]): Record<string, string> {
  const fields = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    const value = line
      .slice(colon + 1)
      .replace("\r\n", "")
      .replace(/^[ \t]+|[ \t]+$/g, "");
    const before = fields.get(name);
    fields.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  return Object.fromEntries(fields);
}
