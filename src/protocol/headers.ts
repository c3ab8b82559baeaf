import type { HeaderFields } from "./messages.ts";

/**
 * Which header fields cross the relay. Fields of one connection end with it (RFC 9110 §7.6.1), and what
 * belongs to the relay or to the client's browser is nobody else's business; everything else crosses.
 */

/** RFC 9110 §7.6.1, and the older fields that some peers still send. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authentication-info",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);

/**
 * Request fields that stop at the relay. `authorization` is where a client proves itself to the relay:
 * a backend's own key is the worker's to add. Browser fields would make backends with an origin check
 * (Ollama) refuse a request that the relay has already accepted. `content-length` is counted anew.
 */
const REQUEST_PRIVATE = new Set([
  "host",
  "authorization",
  "api-key",
  "cookie",
  "cookie2",
  "content-length",
  "expect",
  "origin",
  "referer",
  "forwarded",
  "via",
  "max-forwards",
  "x-worker-secret",
]);
/** The worker's own HTTP client chooses how it is answered. */
const BACKEND_PRIVATE = new Set([...REQUEST_PRIVATE, "accept-encoding"]);
const REQUEST_PRIVATE_PREFIXES = [
  "x-modelrelay-",
  "x-forwarded-",
  "x-real-",
  "sec-",
  "cf-",
  "fly-",
  "access-control-",
];

/**
 * Response fields that stop at the relay: those it writes itself, and those that would speak for the
 * relay's own address (cookies, transport security, alternative services, CORS).
 */
const RESPONSE_PRIVATE = new Set([
  "content-length",
  "date",
  "set-cookie",
  "set-cookie2",
  "strict-transport-security",
  "alt-svc",
  "via",
  "x-request-id",
]);
const RESPONSE_PRIVATE_PREFIXES = ["access-control-", "x-modelrelay-"];

/**
 * What is taken of a peer's fields, in number and in characters: more than any API sends, and less than
 * HTTP clients refuse (256 fields in this runtime). Without a limit 50,000 fields would stop the program
 * for seconds, since each is looked for among those before it.
 */
const MAX_FIELDS = 128;
const MAX_FIELDS_LENGTH = 32 * 1024;

/** A field name is a token (RFC 9110 §5.6.2). */
const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]{1,256}$/;
/** Field values are visible characters, spaces and tabs (RFC 9110 §5.5): no line breaks, no NUL. */
// eslint-disable-next-line no-control-regex
const FIELD_VALUE = /^[\t\u0020-\u007e\u0080-\u00ff]*$/;

/** Names that a `Connection` field declares as its own. */
function namedByConnection(connection: string | undefined): Set<string> | undefined {
  if (connection === undefined) return undefined;
  const names = new Set<string>();
  for (const part of connection.split(",")) {
    const name = part.trim().toLowerCase();
    if (name !== "" && name !== "close" && name !== "keep-alive") names.add(name);
  }
  return names.size === 0 ? undefined : names;
}

/** Names whose fate is remembered; peers can make up any number. */
const MAX_REMEMBERED = 1_000;

/** Decides which fields go on in one direction. Most requests have the same names, so each is judged once. */
class Border {
  readonly #own: ReadonlySet<string>;
  readonly #prefixes: readonly string[];
  readonly #known = new Map<string, boolean>();

  /** @param own names that stop here, as do those that begin in one of these ways */
  constructor(own: ReadonlySet<string>, prefixes: readonly string[]) {
    this.#own = own;
    this.#prefixes = prefixes;
  }

  /** @param name in lower case; one that is no field's name passes nowhere */
  passes(name: string, named: ReadonlySet<string> | undefined): boolean {
    return (this.#known.get(name) ?? this.#decide(name)) && named?.has(name) !== true;
  }

  #decide(name: string): boolean {
    if (!FIELD_NAME.test(name)) return false;
    const passes =
      !HOP_BY_HOP.has(name) &&
      !this.#own.has(name) &&
      !this.#prefixes.some((prefix) => name.startsWith(prefix));
    if (this.#known.size < MAX_REMEMBERED) this.#known.set(name, passes);
    return passes;
  }
}

const TO_LINK = new Border(REQUEST_PRIVATE, REQUEST_PRIVATE_PREFIXES);
const TO_BACKEND = new Border(BACKEND_PRIVATE, REQUEST_PRIVATE_PREFIXES);
const TO_CLIENT = new Border(RESPONSE_PRIVATE, RESPONSE_PRIVATE_PREFIXES);

/**
 * All fields of a request or an answer, by lower-case name. Taken over at once: each look into `Headers`
 * costs as much as ten into these.
 */
export function fieldsOf(headers: Headers): HeaderFields {
  const fields: Record<string, string | string[]> = headers.toJSON();
  // The one field that does not come joined, and that no request should have.
  const cookies = fields["set-cookie"];
  if (Array.isArray(cookies)) fields["set-cookie"] = cookies.join(", ");
  return fields as HeaderFields;
}

/** Fields of a client's request that go on to a worker. @param received with lower-case names */
export function requestHeadersForLink(received: HeaderFields): HeaderFields {
  return ownFields(received, TO_LINK);
}

/**
 * Fields that a worker sends to its backend. The relay has filtered them, but a relay is a peer like
 * any other.
 */
export function requestHeadersForBackend(received: HeaderFields): HeaderFields {
  return takeFields(received, TO_BACKEND);
}

/** Fields of a backend's response that go on to the relay. @param received with lower-case names */
export function responseHeadersForLink(received: HeaderFields): HeaderFields {
  return ownFields(received, TO_CLIENT);
}

/** Fields of a worker's response that go on to the client; malformed ones are left out. */
export function responseHeadersForClient(received: HeaderFields): HeaderFields {
  return takeFields(received, TO_CLIENT);
}

/** What may go on of fields that this end has read itself. */
function ownFields(received: HeaderFields, border: Border): HeaderFields {
  const named = namedByConnection(received["connection"]);
  const fields: HeaderFields = {};
  for (const name in received) {
    const value = received[name];
    if (value !== undefined && border.passes(name, named)) fields[name] = value;
  }
  return fields;
}

/** What a peer sent and what may go on of it, up to the first field that is too much. */
function takeFields(received: HeaderFields, border: Border): HeaderFields {
  const named = namedByConnection(received["connection"]);
  const fields: HeaderFields = {};
  let count = 0;
  let length = 0;
  for (const rawName in received) {
    const name = rawName.toLowerCase();
    if (!border.passes(name, named)) continue;
    const value = received[rawName];
    if (typeof value !== "string" || !FIELD_VALUE.test(value)) continue;
    length += name.length + value.length;
    if (++count > MAX_FIELDS || length > MAX_FIELDS_LENGTH) break;
    fields[name] = value;
  }
  return fields;
}
