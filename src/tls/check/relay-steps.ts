import type { Outcome } from "../../base/check-result.ts";
import { oneLine } from "../../base/one-line.ts";
import { LINK_CHECK_PATH, STREAM_CHECK_PATH, WORKER_PATH } from "../../protocol/paths.ts";
import { partMark, STREAM_CHECK_PAUSE_MS } from "../../protocol/stream-check.ts";
import { ANSWER_MS, explain, hostHeader, onWire, secureDial, type Context } from "./context.ts";
import { ask, type Head } from "./http-head.ts";
import { serverOf } from "./ports.ts";
import type { Wire } from "./wire.ts";

/** The relay lets half a second pass between two parts; a proxy that holds the first back leaves less. */
const LEAST_GAP_MS = 200;

const FORWARD =
  "Let the proxy pass everything under /v1/ on to the relay; modelrelay tls nginx and modelrelay tls caddy print a configuration that does";
const UPGRADE_HEADERS =
  "Let the proxy speak HTTP/1.1 to the relay and pass Upgrade and Connection on (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade); modelrelay tls nginx prints the whole of it";

/** What a WebSocket client asks with (RFC 6455 §4.1). */
export function upgradeHeaders(): Record<string, string> {
  const key = Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("base64");
  return {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": key,
  };
}

/** Asks by the name that clients use. */
export function askRelay(
  { domain, httpsPort }: Context,
  wire: Wire,
  path: string,
  headers: Record<string, string> = { connection: "close" },
): Promise<Head> {
  return ask(wire, hostHeader(domain, httpsPort, 443), path, headers);
}

/** The address that is asked for, as people write it. */
export function urlOf({ domain, httpsPort }: Context, path: string, scheme = "https"): string {
  return `${scheme}://${hostHeader(domain, httpsPort, 443)}${path}`;
}

/** An answer that did not come from the relay, or not from this path of it. */
function notTheRelay(target: string, head: Head, action = FORWARD): Outcome {
  const { status } = head;
  if (status === 502 || status === 503 || status === 504) {
    return {
      target,
      ok: false,
      details: `${serverOf(head)} answers with HTTP ${status}: it does not reach the relay behind it`,
      action:
        "Check that the relay runs, and that the proxy names the address and port that it listens on (--listen)",
    };
  }
  const location = head.headers.get("location");
  if (status >= 300 && status < 400 && location !== undefined) {
    return {
      target,
      ok: false,
      details: `${serverOf(head)} redirects to ${oneLine(location)} (${status})`,
      action: `Use that address, or let the proxy pass the request on; ${location.startsWith("https:") ? "a proxy that redirects https to https often sits behind another one" : "the API must not be redirected"}`,
    };
  }
  return { target, ok: false, details: `${serverOf(head)} answers with HTTP ${status}`, action };
}

/** Whether the API is reached by https. */
export async function checkModels(context: Context, address: string): Promise<Outcome> {
  const target = urlOf(context, "/v1/models");
  try {
    return await onWire(context.clock, secureDial(context, address), ANSWER_MS, async (wire) => {
      const head = await askRelay(context, wire, "/v1/models");
      const json = head.headers.get("content-type")?.includes("json") === true;
      if (head.status === 401)
        return { target, ok: true, details: "it answers, and asks for a key (HTTP 401)" };
      if (head.status === 200 && json) return { target, ok: true, details: "it answers with HTTP 200" };
      if (head.status === 200) {
        const type = oneLine(head.headers.get("content-type") ?? "no content type", 60);
        return {
          target,
          ok: false,
          details: `${serverOf(head)} answers with ${type}, which is no list of models`,
          action: FORWARD,
        };
      }
      return notTheRelay(target, head);
    });
  } catch (error) {
    return noAnswer(target, error);
  }
}

/** A connection that came to nothing after its handshake. */
export function noAnswer(target: string, error: unknown): Outcome {
  return {
    target,
    ok: false,
    details: explain(error),
    action: "Look into the log of the relay, or of the proxy in front of it",
  };
}

/** Whether the address of the worker link leads to the relay, and an upgrade comes through to it. */
export async function checkWorkerLink(context: Context, address: string): Promise<Outcome> {
  const target = urlOf(context, WORKER_PATH, "wss");
  const dial = secureDial(context, address);
  const dropped: Outcome = {
    target,
    ok: false,
    details: "the request arrives without its WebSocket upgrade: a proxy in between drops those headers",
    action: UPGRADE_HEADERS,
  };
  const upgrade = (path: string): Promise<Head> =>
    onWire(context.clock, dial, ANSWER_MS, (wire) => askRelay(context, wire, path, upgradeHeaders()));
  try {
    const head = await upgrade(WORKER_PATH);
    const { status } = head;
    if (status === 101) return { target, ok: true, details: "the upgrade goes through (HTTP 101)" };
    if (status === 426) return dropped;
    if (status === 200 || status === 404 || status === 405) return notTheRelay(target, head, UPGRADE_HEADERS);
    if (status !== 400 && status !== 401 && status !== 403 && status !== 429)
      return notTheRelay(target, head);
    const reached = `the relay is reached (HTTP ${status}${status === 429 ? ", too many attempts" : ", no secret was sent"})`;
    // A refusal for want of a secret does not show an upgrade come about; this path needs none.
    const proof = await upgrade(LINK_CHECK_PATH);
    if (proof.status === 101) return { target, ok: true, details: `${reached}, and upgrades go through` };
    if (proof.status === 426)
      // A relay with this path asks for the upgrade before the secret: it came as far as that up here.
      return { target, ok: true, details: `${reached}, with the upgrade` };
    return { target, ok: true, details: `${reached}; whether upgrades go through, it does not let be tried` };
  } catch (error) {
    return noAnswer(target, error);
  }
}

/** Whether two parts of an event stream arrive apart, as they left. */
export async function checkStream(context: Context, address: string): Promise<Outcome> {
  const { clock } = context;
  const target = urlOf(context, STREAM_CHECK_PATH);
  try {
    return await onWire(clock, secureDial(context, address), ANSWER_MS, async (wire) => {
      const asked = clock.now();
      const head = await askRelay(context, wire, STREAM_CHECK_PATH);
      const stream = head.headers.get("content-type")?.includes("text/event-stream") === true;
      if (head.status === 404 || (head.status === 200 && !stream)) return notOffered(target);
      if (head.status === 503 && head.headers.has("retry-after")) {
        return { target, ok: undefined, details: "not tried: too many such checks run there at once" };
      }
      if (head.status !== 200) return notTheRelay(target, head);
      const arrived = await arrivals(wire, head.rest, () => clock.now());
      if (arrived === undefined) {
        return {
          target,
          ok: false,
          details: "the stream ended before its second part",
          action: "Look into the log of the proxy: it breaks off answers of one second",
        };
      }
      const gap = Math.round(arrived.second - arrived.first);
      if (gap >= LEAST_GAP_MS) {
        return { target, ok: true, details: `two parts arrived ${gap} ms apart, as they were sent` };
      }
      return {
        target,
        ok: false,
        details: `parts that were sent ${STREAM_CHECK_PAUSE_MS} ms apart arrived together, ${Math.round(arrived.second - asked)} ms after the request: a proxy holds answers back`,
        action:
          "Turn buffering off where requests go to the relay (nginx: proxy_buffering off), and compression of text/event-stream (nginx: gzip off; Caddy: leave encode away there)",
      };
    });
  } catch (error) {
    return noAnswer(target, error);
  }
}

/** What relays from before this check answer counts against nobody. */
export function notOffered(target: string): Outcome {
  return { target, ok: undefined, details: "not tried: this relay does not offer it (an older version)" };
}

const MOST_STREAM = 16 * 1024;

/** When the first and the second part came, in ms of `now`; `undefined` if the stream ends before. */
async function arrivals(
  wire: Wire,
  rest: Buffer,
  now: () => number,
): Promise<{ first: number; second: number } | undefined> {
  let text = rest.toString("latin1");
  let first: number | undefined;
  for (;;) {
    // Framing of chunks may stand between events, never within one so short.
    if (first === undefined && text.includes(partMark(1))) first = now();
    if (first !== undefined && text.includes(partMark(2))) return { first, second: now() };
    const piece = text.length > MOST_STREAM ? undefined : await wire.read();
    if (piece === undefined) return undefined;
    text += piece.toString("latin1");
  }
}
