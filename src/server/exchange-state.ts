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

/** The link over which an answer comes. */
export interface AnswerHolder {
  /** So many bytes of the answer have left, which makes room for as many more. */
  consumed(requestId: string, bytes: number): void;
}

/** What an exchange tells of its answer. */
export interface AnswerEvents {
  /** Its head is known, and its body, or the stream of it. Called again, this does nothing. */
  answer(response: Response): void;
  /** The client has been given all of it. */
  whole(): void;
}

/** Whether an answer has no body, whatever is sent with it: RFC 9110 §6.4.1, and §15.3.6 for 205. */
export function isBodiless(method: string, status: number): boolean {
  return status === 204 || status === 205 || status === 304 || method === "HEAD";
}
