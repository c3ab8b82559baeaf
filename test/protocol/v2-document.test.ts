import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  FRAME,
  FrameDecoder,
  HEADER_BYTES,
  isCounted,
  MAX_REQUEST_NUMBER,
} from "../../src/protocol/frames.ts";
import { responseHeadersForClient } from "../../src/protocol/headers.ts";
import * as limits from "../../src/protocol/limits.ts";
import { ProtocolError } from "../../src/protocol/messages.ts";
import { frameOf, framesIn, joined, type Bytes, type Taken } from "../fuzz/wire.ts";
import { frameBytes, workedExchange } from "./v2-exchange.ts";

const PAGE = readFileSync(join(import.meta.dir, "../../docs/protocol.md"), "utf8");
const V2 = PAGE.slice(PAGE.indexOf("\n## Version 2\n"), PAGE.indexOf("\n## Version 1\n"));

/** Cells of the table that begins with these headings. */
function tableOf(...headings: string[]): string[][] {
  const lines = V2.split("\n");
  const first = lines.indexOf(`| ${headings.join(" | ")} |`);
  if (first < 0) throw new Error(`There is no table of ${headings.join(", ")}`);
  const rest = lines.slice(first + 2);
  const end = rest.findIndex((line) => !line.startsWith("|"));
  return rest.slice(0, end).map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const UNITS: Record<string, number> = { "": 1, bytes: 1, KiB: 1024, MiB: 1024 * 1024, s: 1_000 };

function numberIn(cell: string): number {
  const [number = "", unit = ""] = cell.split(" ");
  const factor = UNITS[unit];
  if (factor === undefined) throw new Error(`"${cell}" has no unit that is known`);
  return Number(number.replaceAll(",", "")) * factor;
}

function isTaken(type: number, length: number): boolean {
  try {
    new FrameDecoder(() => {}).push(frameOf(type, 1, new Uint8Array(length)));
    return true;
  } catch (error) {
    if (error instanceof ProtocolError) return false;
    throw error;
  }
}

const TYPES = tableOf("type", "name", "direction", "request", "counted", "payload at most", "payload");

describe("The specification of v2", () => {
  test("lists every type of frame with its number, and no other", () => {
    const listed = TYPES.map(([type, name]) => [name, Number(type)]);
    expect(Object.fromEntries(listed)).toEqual(FRAME);
  });

  for (const [type = "", name, , , counted, longest = ""] of TYPES) {
    test(`says of ${name} whether it is counted and how long it may be`, () => {
      expect(counted === "yes").toBe(isCounted(Number(type)));
      expect(isTaken(Number(type), numberIn(longest))).toBe(true);
      expect(isTaken(Number(type), numberIn(longest) + 1)).toBe(false);
    });
  }

  const constants: Record<string, unknown> = { ...limits, MAX_REQUEST_NUMBER };
  const rows = tableOf("what", "value", "constant");

  for (const [what, value = "", constant = ""] of rows) {
    test(`has the number of the program for ${what}`, () => {
      expect(numberIn(value)).toBe(constants[constant.replaceAll("`", "")] as number);
    });
  }

  test("lists every number of the program that is not of v1 alone", () => {
    const listed = new Set(rows.map(([, , constant]) => constant?.replaceAll("`", "")));
    const ofV1 = ["V1_MAX_CHUNK", "V1_MAX_PART"];
    const numbers = Object.keys(limits).filter((name) => typeof constants[name] === "number");
    expect(numbers.filter((name) => !listed.has(name) && !ofV1.includes(name))).toEqual([]);
    expect(V2).toContain(limits.V2_SUBPROTOCOL);
  });

  test("says how much of an answer's header fields is taken", () => {
    expect(V2).toContain("takes the first 128, and\nno more than 32 KiB");
    const many = Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`x-${index}`, ""]));
    expect(Object.keys(responseHeadersForClient(many))).toHaveLength(128);
    const long = (length: number) => ({ a: "x".repeat(length - 1), b: "" });
    expect(responseHeadersForClient(long(32 * 1024 - 1))).toHaveProperty("b");
    expect(responseHeadersForClient(long(32 * 1024))).not.toHaveProperty("b");
  });

  test("lists every close code with its name, and no other", () => {
    const listed = tableOf("code", "name", "meaning", "then").map(([code, name]) => [name, Number(code)]);
    expect(Object.fromEntries(listed)).toEqual(limits.CLOSE);
  });
});

const NAMES = new Map<number, string>(Object.entries(FRAME).map(([name, type]) => [type, name]));

/** A frame of the page, with what the page says of it. */
interface Written {
  by: string;
  header: Bytes;
  name: string;
  says: unknown;
  payload: Bytes;
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

function unhex(text: string): Bytes {
  return new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));
}

/** Frames in the blocks of the page that hold some. */
function written(): Written[] {
  const frames: Written[] = [];
  for (const [, block = ""] of V2.matchAll(/^```\n((?:worker|relay): [^]*?)^```$/gm)) {
    for (const line of block.split("\n")) {
      const begun = /^(worker|relay): ((?:[0-9a-f]{2} ){8}) (\w+)(?: (.+))?$/.exec(line);
      if (begun !== null) {
        const [, by = "", header = "", name = "", says] = begun;
        const payload = new Uint8Array(0);
        frames.push({
          by,
          header: unhex(header),
          name,
          says: says === undefined ? undefined : JSON.parse(says),
          payload,
        });
      } else if (line.startsWith("  ")) {
        const last = frames.at(-1)!;
        const text = line.slice(2);
        const more = /^([0-9a-f]{2}( |$))+$/.test(text) ? unhex(text) : Buffer.from(text);
        last.payload = joined([last.payload, more]);
      }
    }
  }
  return frames;
}

/** What the page says of a payload. */
function saying({ type, payload }: Taken): unknown {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  if (type === FRAME.body) return Buffer.from(payload).toString();
  if (type === FRAME.credit) return view.getUint32(0);
  if (type === FRAME.ack || type === FRAME.ping) return Number(view.getBigUint64(0));
  if (type === FRAME.pong) return view.getUint32(0);
  return undefined;
}

function linesOf(by: string, frame: Taken): string[] {
  const says = saying(frame);
  const header = frameBytes(frame).subarray(0, HEADER_BYTES);
  const head = `${by}: ${hex(header)}  ${NAMES.get(frame.type)}${says === undefined ? "" : ` ${JSON.stringify(says)}`}`;
  // JSON is broken after a comma, hex after 34 bytes.
  const payload =
    says === undefined
      ? Buffer.from(frame.payload)
          .toString()
          .match(/.{1,100}(?:,|$)/g)
      : hex(frame.payload).match(/.{1,102}/g);
  return [head, ...(payload ?? []).map((line) => `  ${line.trimEnd()}`)];
}

/** The block of the page as our own ends make it. */
function exchangeBlock(): string {
  const messages = workedExchange().map(({ by, frames }) => {
    const cut =
      frames[0]?.type === FRAME.resume ? ["--- the connection is cut, and the worker dials again"] : [];
    return [...cut, ...frames.flatMap((frame) => linesOf(by, frame))].join("\n");
  });
  return `\`\`\`\n${messages.join("\n\n")}\n\`\`\`\n`;
}

describe("The worked exchange", () => {
  test("is what two ends of ours send, byte for byte", () => {
    const block = exchangeBlock();
    const shown = V2.includes(block);
    expect(shown ? "the exchange" : `the page without this:\n${block}`).toBe("the exchange");
  });

  test("decodes to what stands beside the bytes", () => {
    const frames = written();
    expect(frames.length).toBeGreaterThan(14);
    for (const { header, payload, name, says } of frames) {
      const taken: Taken[] = [];
      const decoder = new FrameDecoder((type, request, bytes) => {
        taken.push({ type, request, payload: bytes });
      });
      decoder.push(joined([header, payload]));
      expect(decoder.held).toBe(0);
      expect(taken.map(({ type }) => NAMES.get(type))).toEqual([name]);
      expect(framesIn(joined([header, payload]))).toEqual(taken);
      const text = Buffer.from(payload).toString();
      if (says === undefined && payload.length > 0) expect(JSON.parse(text)).toBeInstanceOf(Object);
      else expect(saying(taken[0]!)).toBe(says);
    }
  });
});
