import { isUtf8 } from "node:buffer";
import { AdminRefusal, type AdminRoute } from "../admin/admin-desk.ts";
import { requestView } from "../usage/usage-routes.ts";
import type { UsageStore } from "../usage/usage-store.ts";
import type { BodyStore, KeptBody } from "./body-store.ts";

/** A body as operators see it. */
export interface BodyView {
  encoding: "utf-8" | "base64";
  body: string;
  /** Of the whole body. */
  bytes: number;
  /** Only its beginning was kept. */
  truncated: boolean;
}

/** What `GET /admin/requests/{id}` answers; `null` for what is not kept, or not any more. */
export interface RequestDetails {
  request: object | null;
  bodies: { request: BodyView; answer: BodyView } | null;
}

/** Shows operators one request, with what was asked and answered where that is kept. */
export function requestRoute(
  store: Pick<UsageStore, "findRequest"> & Pick<BodyStore, "findBodies">,
): AdminRoute {
  return {
    method: "GET",
    path: "/admin/requests/{id}",
    async handle({ id }) {
      const [row, bodies] = await Promise.all([store.findRequest(id), store.findBodies(id)]);
      if (row === undefined && bodies === undefined)
        throw new AdminRefusal(
          404,
          "not_found",
          `No request with id ${JSON.stringify(id.slice(0, 80))} is kept`,
        );
      const body: RequestDetails = {
        request: row === undefined ? null : requestView(row),
        bodies: bodies === undefined ? null : { request: view(bodies.request), answer: view(bodies.answer) },
      };
      return { status: 200, body };
    },
  };
}

function view({ kept, bytes }: KeptBody): BodyView {
  const truncated = kept.length < bytes;
  const text = truncated ? kept.subarray(0, wholeCharacters(kept)) : kept;
  return isUtf8(text)
    ? {
        encoding: "utf-8",
        body: Buffer.from(text.buffer, text.byteOffset, text.length).toString(),
        bytes,
        truncated,
      }
    : { encoding: "base64", body: kept.toBase64(), bytes, truncated };
}

/** Up to where the bytes are whole characters, if they are UTF-8 that was cut. */
function wholeCharacters(bytes: Uint8Array): number {
  // A character has four bytes at most; those behind its first begin with the bits 10.
  for (let at = bytes.length - 1; at >= 0 && at >= bytes.length - 4; at--) {
    const byte = bytes[at] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    return at + length > bytes.length ? at : bytes.length;
  }
  return bytes.length;
}
