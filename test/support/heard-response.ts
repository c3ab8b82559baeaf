import type { HeaderFields } from "../../src/protocol/messages.ts";
import { ResponseError } from "../../src/worker/http/response-error.ts";
import { ResponseParser, type ResponseHandler } from "../../src/worker/http/response-parser.ts";

/** What a parser has told of one response, in a form that two ways of cutting it can be compared by. */
export interface Heard {
  heads: { status: number; fields: HeaderFields }[];
  body: string;
  /** As a client would decide: `undefined` without an end. */
  reusable: boolean | undefined;
  /** Code of the error that it threw. */
  error: string | undefined;
}

export interface Hearing {
  bodiless?: boolean;
  /** Whether the connection is closed behind the last piece. */
  closed?: boolean;
  /** Calls told, and bytes of each part. */
  calls?: string[];
}

/** Feeds a response to a new parser, piece by piece. @throws whatever is not a ResponseError */
export function hear(pieces: Iterable<string | Uint8Array>, hearing: Hearing = {}): Heard {
  const heard: Heard = { heads: [], body: "", reusable: undefined, error: undefined };
  const parts: Uint8Array[] = [];
  const { calls = [] } = hearing;
  const handler: ResponseHandler = {
    head(status, fields) {
      calls.push(`head ${status}`);
      heard.heads.push({ status, fields: { ...fields } });
    },
    body(bytes) {
      calls.push(`body ${bytes.length}`);
      parts.push(bytes);
    },
    end(reusable) {
      calls.push("end");
      heard.reusable = reusable;
    },
  };
  const parser = new ResponseParser(handler, hearing.bodiless ?? false);
  try {
    for (const piece of pieces) {
      // What comes later on a connection that nobody uses ends it all the same.
      if (heard.reusable === true && piece.length > 0) heard.reusable = false;
      parser.push(Buffer.from(piece as string, "latin1"));
    }
    if (hearing.closed === true) parser.close();
  } catch (error) {
    if (!(error instanceof ResponseError)) throw error;
    heard.error = error.code;
  }
  // Only now: each part is the handler's to keep, so that nothing may have changed it since.
  // Of a read with an error in it no part need be told.
  if (heard.error !== "InvalidHTTPResponse") heard.body = Buffer.concat(parts).toString("latin1");
  return heard;
}

export function singleBytes(text: string): string[] {
  return text.split("");
}
