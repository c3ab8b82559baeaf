import { createHash, timingSafeEqual } from "node:crypto";
import { relayError, type ClientError } from "./client-error.ts";

/** Decides who may use the models. */
export interface ClientAdmission {
  /** @returns why the client is refused; `undefined` if it may go on */
  refusal(headers: Headers): ClientError | undefined;
  /** Whether a value is the relay's own key, which never leaves it. */
  isKey(value: string): boolean;
}

/** @param apiKey what clients must show; without one everybody may come */
export function createClientAdmission(apiKey: string | undefined): ClientAdmission {
  if (apiKey === undefined) return { refusal: () => undefined, isKey: () => false };
  const expected = digest(apiKey);
  // Digests have one length, whatever was shown, so that the time of a comparison tells nothing.
  const isKey = (value: string) => timingSafeEqual(digest(value), expected);
  return {
    isKey,
    refusal(headers) {
      const shown = shownKeys(headers);
      if (shown.some(isKey)) return undefined;
      const what = shown.length === 0 ? "No API key was sent" : "The API key is wrong";
      return relayError(
        401,
        "invalid_api_key",
        `${what}: send the relay's key as "Authorization: Bearer …" or "x-api-key"`,
      );
    },
  };
}

/** What the SDKs of OpenAI, Anthropic and Azure send it as. */
function shownKeys(headers: Headers): string[] {
  const bearer = /^Bearer +(\S+) *$/i.exec(headers.get("authorization") ?? "")?.[1];
  return [bearer, headers.get("x-api-key"), headers.get("api-key")].filter((key) => typeof key === "string");
}

function digest(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}
