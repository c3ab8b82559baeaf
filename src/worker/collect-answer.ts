import type { Backend, BackendRequest } from "./backend.ts";

/** Of an answer that is longer, the rest is not kept. */
const MAX_KEPT_BYTES = 64 * 1024;

/**
 * Asks the backend and waits for the end of its answer.
 *
 * @returns the first 64 KiB of its text
 * @throws {BackendError} if there is none
 */
export function collectAnswer(
  backend: Backend,
  request: BackendRequest,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const parts: Uint8Array[] = [];
    let status = 0;
    let bytesKept = 0;
    backend.send(request, {
      head(head) {
        ({ status } = head);
      },
      body(bytes) {
        const kept = bytes.subarray(0, MAX_KEPT_BYTES - bytesKept);
        bytesKept += kept.length;
        if (kept.length > 0) parts.push(kept);
      },
      end: () => resolve({ status, text: Buffer.concat(parts).toString() }),
      failed: reject,
    });
  });
}
