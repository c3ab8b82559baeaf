import { isIPv6 } from "node:net";
import type { Outcome } from "../../base/check-result.ts";
import { hostPort } from "../../base/ip-address.ts";
import { oneLine } from "../../base/one-line.ts";
import { ANSWER_MS, explain, hostHeader, lacksRoute, onWire, type Context } from "./context.ts";
import { ask, type Head } from "./http-head.ts";
import type { Wire } from "./wire.ts";

/** Asked for to learn who answers the certificate authority: no authority gives out such a token. */
const CHALLENGE_PATH = "/.well-known/acme-challenge/modelrelay-check";
/** What a relay's own port 80 says to a token that it does not know. */
const RELAY_ANSWER = "modelrelay answers here";
const MAX_TEXT = 4_096;

interface PlainAnswer extends Head {
  text: string;
}

/** Port 80 of one address: who answers there, and where it sends people. */
export async function checkPlainPort(context: Context, address: string): Promise<Outcome> {
  const { domain, httpPort, clock } = context;
  const target = hostPort(address, httpPort);
  const get = (path: string): Promise<PlainAnswer> =>
    onWire(clock, { address, port: httpPort }, ANSWER_MS, async (wire) => {
      const head = await ask(wire, hostHeader(domain, httpPort, 80), path, { connection: "close" });
      return { ...head, text: await readText(wire, head.rest) };
    });
  let challenge: PlainAnswer;
  let models: PlainAnswer;
  try {
    challenge = await get(CHALLENGE_PATH);
    models = await get("/v1/models");
  } catch (error) {
    if (lacksRoute(error)) return noRoute(target, address);
    return {
      target,
      ok: false,
      details: explain(error),
      action: `Open port 80 in the firewall and the router's forwarding${staleRecord(address)}: certificates are obtained and plain addresses redirected through it`,
    };
  }
  const who = challenge.text.includes(RELAY_ANSWER) ? "a modelrelay relay" : serverOf(models);
  const location = models.headers.get("location");
  if (models.status >= 300 && models.status < 400 && location !== undefined) {
    return judgeRedirect(target, domain, who, models.status, location);
  }
  if (isModelAnswer(models)) {
    return {
      target,
      ok: false,
      details: `${who} answers the API without encryption (HTTP ${models.status}), so that keys and prompts can be read on the way`,
      action: "Redirect port 80 to https with 308 (modelrelay serve --tls does)",
    };
  }
  return {
    target,
    ok: true,
    details: `${who} answers with HTTP ${models.status} and does not redirect to https`,
  };
}

function judgeRedirect(
  target: string,
  domain: string,
  who: string,
  status: number,
  location: string,
): Outcome {
  const url = URL.canParse(location) ? new URL(location) : undefined;
  const name = url?.hostname.replace(/^\[|\]$/g, "").replace(/\.$/, "");
  if (url?.protocol === "https:" && name === domain) {
    const kept = status === 308 || status === 307;
    const details = `${who} redirects to https (${status})${kept ? "" : ", which clients follow with GET alone; 308 keeps POST"}`;
    return { target, ok: true, details };
  }
  return {
    target,
    ok: false,
    details: `${who} redirects to ${oneLine(location)} (${status}), not to https://${domain}`,
    action: `Redirect port 80 to https://${domain} in the server or proxy that answers there`,
  };
}

/** A relay lists its models or asks for a key; nothing else does it like this. */
function isModelAnswer({ status, headers, text }: PlainAnswer): boolean {
  const json = headers.get("content-type")?.includes("json") === true;
  return json && (status === 200 ? text.includes('"data"') : status === 401);
}

async function readText(wire: Wire, rest: Buffer): Promise<string> {
  let text = rest.toString("latin1");
  while (text.length < MAX_TEXT) {
    const piece = await wire.read();
    if (piece === undefined) break;
    text += piece.toString("latin1");
  }
  return text;
}

/** What a server says it is, in words for the beginning of a sentence. */
export function serverOf({ headers }: Head): string {
  const server = headers.get("server");
  return server === undefined || server === "" ? "a server that gives no name" : oneLine(server, 60);
}

function noRoute(target: string, address: string): Outcome {
  const kind = isIPv6(address) ? "IPv6" : "IPv4";
  return { target, ok: undefined, details: `not tried: this machine has no way out by ${kind}` };
}

/** An AAAA record that was forgotten when a machine moved is tried first by many clients. */
function staleRecord(address: string): string {
  return isIPv6(address) ? " (or delete the AAAA record if the machine has no such address any more)" : "";
}

/** Port 443 of one address: whether anything listens. */
export async function checkSecurePort(context: Context, address: string): Promise<Outcome> {
  const port = context.httpsPort;
  const target = hostPort(address, port);
  try {
    await onWire(context.clock, { address, port }, ANSWER_MS, () => Promise.resolve());
    return { target, ok: true, details: "a connection was accepted" };
  } catch (error) {
    if (lacksRoute(error)) return noRoute(target, address);
    return {
      target,
      ok: false,
      details: explain(error),
      action: `Check that the relay or the proxy in front of it runs, and open port ${port} in the firewall and the router's forwarding${staleRecord(address)}`,
    };
  }
}
