import type { ResponseHead } from "../protocol/messages.ts";
import type { LateAnswer } from "./late-answer.ts";
import type { ResponseStream } from "./response-stream.ts";

/** Where an exchange stands; which follows which is shown there. */
export type ExchangeState =
  | { phase: "waiting" }
  | { phase: "opening"; head: ResponseHead; early: Uint8Array<ArrayBuffer>[] }
  /** The stream was opened by a keep-alive before the backend said anything. */
  | { phase: "kept"; stream: ResponseStream; refused: LateAnswer | undefined }
  | { phase: "open"; stream: ResponseStream; events: boolean }
  | { phase: "closed" };

/** Whether an answer has no body, whatever is sent with it: RFC 9110 §6.4.1, and §15.3.6 for 205. */
export function isBodiless(method: string, status: number): boolean {
  return status === 204 || status === 205 || status === 304 || method === "HEAD";
}
