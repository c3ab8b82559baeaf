import type { Clock } from "../base/clock.ts";
import type { HeaderFields } from "../protocol/messages.ts";
import { AttemptThrottle, networkOf } from "./attempt-throttle.ts";
import { relayError, type ClientError } from "./client-error.ts";
import type { Client } from "./client.ts";
import type { KeyRing } from "./keys/key-ring.ts";
import { isOfOurMaking } from "./keys/secrets.ts";
import { bearerOf, KnownSecret } from "./known-secret.ts";

/** Decides who may use the models. */
export interface ClientAdmission {
  /** @param address is asked only where it matters */
  admit(headers: HeaderFields, address: () => string): Client | ClientError;
  /** Whether a value is a key, which never leaves the relay. */
  isKey(value: string): boolean;
}

export interface ClientAdmissionOptions {
  /** The key that the relay was started with; it may do everything. */
  apiKey?: string | undefined;
  /** The keys of the database. */
  ring?: KeyRing | undefined;
  /** Whether a key has to be shown. */
  isKeyRequired: boolean;
  clock: Clock;
}

/** Header fields in which a key is looked for: what the SDKs of OpenAI, Anthropic and Azure send it in. */
const KEY_FIELDS = ["authorization", "x-api-key", "api-key"] as const;

/** Seconds after which a client may ask again whether its key is known. */
const RETRY_SECS = 5;

/** Name and id of the key that the relay was started with. */
const FIRST_KEY = "api-key";

const FIRST_CLIENT: Client = {
  id: FIRST_KEY,
  key: { id: FIRST_KEY, name: FIRST_KEY },
  models: undefined,
  priority: "normal",
  limits: {},
};

/** What came of a key that does not open. The further down the list, the more is known about it. */
const REFUSALS = ["missing", "throttled", "unknown", "unavailable", "expired", "revoked"] as const;
type Refusal = (typeof REFUSALS)[number];

export function createClientAdmission(options: ClientAdmissionOptions): ClientAdmission {
  const { ring, isKeyRequired } = options;
  const first = options.apiKey === undefined ? undefined : new KnownSecret(options.apiKey);
  const throttle = new AttemptThrottle(options.clock);

  function look(key: string, address: () => string): Client | Refusal {
    const found = ring?.find(key) ?? { kind: "unknown" };
    // The ring makes all of its keys: how this one looks need not be asked.
    if (found.kind === "valid") return found.client;
    if (isOfOurMaking(key)) return first?.is(key) === true ? FIRST_CLIENT : found.kind;
    if (first === undefined) return "unknown";
    // A key of the operator's own may be one that can be guessed.
    if (!throttle.isQuiet && throttle.waitSecs(address()) > 0) return "throttled";
    return first.is(key) ? FIRST_CLIENT : "unknown";
  }

  return {
    isKey: (value) => isOfOurMaking(value) || first?.is(value) === true,
    admit(headers, address) {
      let refusal: Refusal = "missing";
      for (const field of KEY_FIELDS) {
        const key = keyIn(field, headers);
        if (key === undefined) continue;
        const found = look(key, address);
        if (typeof found !== "string") return found;
        if (REFUSALS.indexOf(found) > REFUSALS.indexOf(refusal)) refusal = found;
      }
      // Whoever shows a key that was taken back is not to go on as if nothing had happened.
      const mayBeAnybody = !isKeyRequired && refusal !== "revoked" && refusal !== "expired";
      return mayBeAnybody ? anonymous(address()) : refuse(refusal, address, throttle);
    },
  };
}

function keyIn(field: (typeof KEY_FIELDS)[number], headers: HeaderFields): string | undefined {
  return field === "authorization" ? bearerOf(headers[field]) : headers[field];
}

function anonymous(address: string): Client {
  const id = `address:${networkOf(address)}`;
  return { id, key: undefined, models: undefined, priority: "normal", limits: {} };
}

function refuse(refusal: Refusal, address: () => string, throttle: AttemptThrottle): ClientError {
  switch (refusal) {
    case "missing":
      return wrongKey("No API key was sent");
    case "revoked":
      return wrongKey("The API key was revoked");
    case "expired":
      return wrongKey("The API key has expired");
    case "unavailable":
      return relayError(
        503,
        "keys_unavailable",
        "The API key cannot be looked up: the relay's database cannot be reached",
        RETRY_SECS,
      );
    case "throttled":
    case "unknown": {
      const waitSecs = throttle.waitSecs(address());
      if (waitSecs > 0) {
        const message = "Too many wrong API keys came from this address";
        return relayError(429, "rate_limit_exceeded", message, waitSecs);
      }
      throttle.failed(address());
      return wrongKey("The API key is wrong");
    }
  }
}

function wrongKey(what: string): ClientError {
  const how = `send the relay's key as "Authorization: Bearer …" or "x-api-key"`;
  return relayError(401, "invalid_api_key", `${what}: ${how}`);
}
