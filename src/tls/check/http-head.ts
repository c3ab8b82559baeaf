import type { Wire } from "./wire.ts";

/** The head of an answer, and what came with it. */
export interface Head {
  status: number;
  /** By lower-case name; of several, the first. */
  headers: ReadonlyMap<string, string>;
  /** Bytes after the head that have come already. */
  rest: Buffer;
}

/** More than any honest server sends. */
const MAX_HEAD = 32 * 1024;
/** Interim answers (103 and the like) that are passed over. */
const MAX_INTERIM = 4;

/**
 * Asks by HTTP/1.1 and waits for the head of the answer.
 *
 * @param host for the `Host` header, with its port if it is not the usual one
 */
export async function ask(
  wire: Wire,
  host: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Head> {
  const lines = Object.entries({ host, "user-agent": "modelrelay-check", accept: "*/*", ...headers });
  wire.write(`GET ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`);
  let pending: Buffer = Buffer.alloc(0);
  for (let interim = 0; interim <= MAX_INTERIM;) {
    const end = pending.indexOf("\r\n\r\n");
    if (end < 0) {
      if (pending.length > MAX_HEAD) throw new Error("the header of its answer is too large");
      const piece = await wire.read();
      if (piece === undefined) {
        throw new Error(
          pending.length === 0
            ? "the connection was closed without an answer"
            : "the connection was closed within the header of the answer",
        );
      }
      pending = Buffer.concat([pending, piece]);
      // A mail or SSH server greets in its own words and then waits.
      if (!couldBeHttp(pending)) throw new Error("it does not answer in HTTP");
      continue;
    }
    const head = parseHead(pending.subarray(0, end).toString("latin1"), pending.subarray(end + 4));
    if (head.status >= 200 || head.status === 101) return head;
    pending = head.rest;
    interim++;
  }
  throw new Error("it does not answer in HTTP");
}

function couldBeHttp(bytes: Buffer): boolean {
  const start = bytes.subarray(0, 5).toString("latin1");
  return "HTTP/".startsWith(start);
}

function parseHead(text: string, rest: Buffer): Head {
  const [first = "", ...lines] = text.split("\r\n");
  const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(first)?.[1];
  if (status === undefined) throw new Error("it does not answer in HTTP");
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0)).toLowerCase();
    if (colon > 0 && !headers.has(name)) headers.set(name, line.slice(colon + 1).trim());
  }
  return { status: Number(status), headers, rest };
}
