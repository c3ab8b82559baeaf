import { formatBytes } from "../base/bytes.ts";
import { Problem } from "../base/errors.ts";
import { describeNetworkError } from "../base/network-error.ts";
import { LocalProof, newChallenge } from "../server/local-proof.ts";
import { readRelayFile, type RelayFile } from "./relay-file.ts";
import { leadsHere } from "./value-kinds.ts";

/** Where a relay is asked over HTTP. */
export interface RelayAddress {
  /** Without a final slash. */
  url: string;
  /** It runs on this machine. */
  isHere: boolean;
}

export interface RelayCall {
  method?: string;
  /** Admin token. */
  token?: string;
  body?: object | undefined;
  timeoutMs?: number;
  /** Dials as a worker does: past any proxy, and on these terms of trust; the system's authorities if there are none. */
  dial?: { tls: object | undefined };
}

export interface RelayReply {
  status: number;
  text: string;
  headers: Headers;
}

const TIMEOUT_MS = 30_000;
const LOOK_TIMEOUT_MS = 3_000;
/** Of an answer: several times the longest report. */
const MAX_ANSWER = 64 * 1024 * 1024;

/** The runtime takes `false`, which its types do not know. */
const DIRECT = { proxy: false as unknown as string };
/**
 * What is asked of this machine leaves it neither through a proxy nor over a wire, and the relay's
 * certificate is not for the machine's own address.
 */
const HERE = { ...DIRECT, tls: { rejectUnauthorized: false } };

/** Nothing answers at a relay's address. */
export class RelayUnreachable extends Problem {}

/** The address of a relay that is named. */
export function namedRelay(url: string): RelayAddress {
  return { url, isHere: leadsHere(url) };
}

/** Asks a relay. @throws {RelayUnreachable} */
export async function callRelay(
  { url, isHere }: RelayAddress,
  path: string,
  { method = "GET", token, body, timeoutMs = TIMEOUT_MS, dial }: RelayCall = {},
): Promise<RelayReply> {
  try {
    const response = await fetch(url + path, {
      method,
      headers: {
        "content-type": "application/json",
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      redirect: "error",
      signal: AbortSignal.timeout(timeoutMs),
      ...(dial === undefined
        ? isHere && HERE
        : { ...DIRECT, ...(dial.tls !== undefined && { tls: dial.tls }) }),
    });
    return { status: response.status, text: await textOf(response), headers: response.headers };
  } catch (cause) {
    throw new RelayUnreachable(`Cannot reach the relay at ${url}: ${describeNetworkError(cause)}`, { cause });
  }
}

/** @throws if it is longer than any answer of a relay: what answers may be anything, and may go on for ever */
async function textOf({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body ?? []) {
    length += chunk.length;
    if (length > MAX_ANSWER) throw new Error(`its answer is longer than ${formatBytes(MAX_ANSWER)}`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** The members of an answer in JSON; none if it is no object. */
export function objectIn({ text }: RelayReply): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** The relay that runs on this machine with a data directory, if it answers. */
export async function relayHere(dataDir: string): Promise<RelayFile | undefined> {
  const running = readRelayFile(dataDir);
  return running !== undefined && (await isThatRelay(running)) ? running : undefined;
}

/** A relay that was killed leaves its file, and others may have its number and its port by now. */
async function isThatRelay({ url, proofKey }: RelayFile): Promise<boolean> {
  const challenge = newChallenge();
  try {
    const { text } = await callRelay({ url, isHere: true }, `/livez?challenge=${challenge}`, {
      timeoutMs: LOOK_TIMEOUT_MS,
    });
    const { proof } = JSON.parse(text) as { proof?: unknown };
    return new LocalProof(proofKey).isAnswer(challenge, proof);
  } catch {
    return false;
  }
}
