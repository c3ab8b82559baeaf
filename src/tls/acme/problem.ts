import { oneLine } from "../../base/one-line.ts";
import { AcmeError } from "./error.ts";
import { LONGEST_WAIT_MS } from "../../base/retry-after.ts";

const ACME_PREFIX = "urn:ietf:params:acme:error:";
/** A CA's sentence is shown up to here; the longest seen of Let's Encrypt have some 250 characters. */
const SHOWN_CHARACTERS = 400;
const SHOWN_SUBPROBLEMS = 10;

/** A problem document (RFC 7807) as ACME uses it, RFC 8555 §6.7, with everything foreign made harmless. */
export interface AcmeProblem {
  /** Without `urn:ietf:params:acme:error:`; as it came if it is from elsewhere; empty if there is none. */
  type: string;
  detail: string;
  status: number;
  /** The name that it is about, where the CA says so. */
  identifier: string | undefined;
  /** A page for the account's owner, RFC 8555 §7.3.3. */
  instance: string | undefined;
  subproblems: AcmeProblem[];
}

/** What surrounded a problem, for its wording. */
export interface ProblemContext {
  /** What could not be done, after "Cannot ": "get a certificate for a.example". */
  doing: string;
  /** The names that it was about. */
  names: readonly string[];
  /**
   * A `challenge`, where `unauthorized` means a wrong answer on port 80, or an account with the `binding`
   * of RFC 8555 §7.3.4, for whose refusal CAs use types that mean something else anywhere else.
   */
  about?: "challenge" | "binding" | undefined;
  /** Address that the CA found behind the name, where it says so. */
  address?: string | undefined;
  /** What the CA calls itself in CAA records (`caaIdentities` of its directory). */
  caaIdentity?: string | undefined;
  /** Wall time. */
  nowMs: number;
  /** From the reply's `Retry-After`. */
  retryAfterMs?: number | undefined;
}

/** Text of others on one line, without control characters, of a length that a log line bears. */
function shown(text: unknown, limit = SHOWN_CHARACTERS): string {
  return typeof text === "string" ? oneLine(text.replaceAll(/\s+/g, " ").trim(), limit) : "";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** An address to show or to follow; nothing but http and https, and no credentials. */
export function cleanUrl(value: unknown): string | undefined {
  if (typeof value !== "string" || value.length > 500 || !URL.canParse(value)) return undefined;
  const url = new URL(value);
  if (!/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "") return undefined;
  return url.href;
}

/**
 * Reads a problem from whatever a CA, or a proxy before it, answered with.
 *
 * @param body parsed JSON, or text
 */
export function readProblem(body: unknown, status: number, depth = 0): AcmeProblem {
  const record = isRecord(body) ? body : {};
  const type = shown(record["type"], 100);
  const identifier = isRecord(record["identifier"]) ? shown(record["identifier"]["value"], 255) : "";
  const nested = Array.isArray(record["subproblems"]) && depth === 0 ? record["subproblems"] : [];
  const text = typeof body === "string" ? shown(body.replaceAll(/<[^>]*>/g, " "), 150) : "";
  return {
    type: type.startsWith(ACME_PREFIX) ? type.slice(ACME_PREFIX.length) : type === "about:blank" ? "" : type,
    detail: shown(record["detail"]) || shown(record["title"]) || text,
    status: typeof record["status"] === "number" ? record["status"] : status,
    identifier: identifier === "" ? undefined : identifier,
    instance: cleanUrl(record["instance"]),
    subproblems: nested.slice(0, SHOWN_SUBPROBLEMS).map((sub) => readProblem(sub, status, depth + 1)),
  };
}

interface Explanation {
  /** What is wrong, after "Cannot …: ". */
  cause: string;
  action: string;
  permanent?: true;
}

const WAIT = "Nothing: a relay that runs tries again by itself";

type Explain = (problem: AcmeProblem, context: ProblemContext & { name: string }) => Explanation;

const wrongAnswer: Explain = (_problem, { name, address }) => ({
  cause: `what answers on port 80 of ${name}${address === undefined ? "" : ` at ${address}`} is not this server`,
  action: `Point the A and AAAA records of ${name} to this machine alone, and let nothing else answer on its port 80`,
});

const refusedAccount: Explain = () => ({
  cause: "the CA no longer accepts the account that is kept here",
  action:
    "If the account was deactivated on purpose, remove its file from the folder of accounts in the store; a new one is made then",
  permanent: true,
});

/** RFC 8555 §6.7, RFC 9773 §7.4 and the profiles extension; each with what is wrong and what helps. */
const EXPLANATIONS: Record<string, Explain> = {
  accountDoesNotExist: () => ({ cause: "the CA does not know the account that is kept here", action: WAIT }),
  alreadyReplaced: () => ({ cause: "the certificate has been replaced by another order", action: WAIT }),
  alreadyRevoked: () => ({ cause: "the certificate is revoked already", action: "Nothing", permanent: true }),
  badCSR: () => ({
    cause: "the CA does not accept the certificate request",
    action: "See what the CA says; it may not issue for so many names, or not for an ECDSA key on P-256",
    permanent: true,
  }),
  badNonce: () => ({ cause: "the CA refused one nonce after another", action: WAIT }),
  badPublicKey: () => ({
    cause: "the CA does not accept the public key",
    action: "Use a CA that accepts ECDSA keys on P-256, with --acme-directory",
    permanent: true,
  }),
  badRevocationReason: () => ({
    cause: "the CA does not accept the reason for the revocation",
    action: "Revoke without a reason, or with another one",
    permanent: true,
  }),
  badSignatureAlgorithm: () => ({
    cause: "the CA does not accept signatures with ES256",
    action: "Use a CA that accepts ECDSA keys on P-256, with --acme-directory",
    permanent: true,
  }),
  caa: (_problem, { name, caaIdentity }) => ({
    cause: `a CAA record of ${name}, or of a domain above it, forbids this CA`,
    action:
      caaIdentity === undefined
        ? `Add a CAA record for ${name} that allows this CA, or remove the one that forbids it`
        : `Add this record to the domain's DNS: ${name}. IN CAA 0 issue "${caaIdentity}"`,
    permanent: true,
  }),
  connection: (_problem, { name, address }) => ({
    cause: `the CA could not connect to port 80 of ${name}${address === undefined ? "" : ` at ${address}`}`,
    action:
      "Open TCP port 80 from the internet to this machine: in the firewall, in the cloud's security group, and forwarded by the router (NAT)",
  }),
  dns: (_problem, { name }) => ({
    cause: `the CA could not look up ${name}`,
    action: `Create an A or AAAA record for ${name} that points to this machine; if there is one, check its DNSSEC and its name servers`,
  }),
  externalAccountRequired: () => ({
    cause: "the CA takes only accounts that are bound to one at its site",
    action: "Give --acme-eab-kid and --acme-eab-key, as your account's page at the CA shows them",
    permanent: true,
  }),
  incorrectResponse: wrongAnswer,
  invalidContact: () => ({
    cause: "the CA does not accept the e-mail address",
    action: "Give another address with --email, or none",
    permanent: true,
  }),
  invalidProfile: () => ({
    cause: "the CA has no such certificate profile",
    action: "Choose one that the CA's directory lists, or none",
    permanent: true,
  }),
  malformed: ({ status }) => ({
    cause: status === 404 ? "the CA does not know what was asked for" : "the CA could not read the request",
    action: "Check that --acme-directory names a CA that speaks ACME (RFC 8555)",
    permanent: true,
  }),
  orderNotReady: () => ({ cause: "the CA has not finished checking the names", action: WAIT }),
  rateLimited: () => ({
    cause: "the CA's rate limit is reached",
    action: "Nothing: it is tried again once the limit lifts; until then try things out with --acme-staging",
  }),
  rejectedIdentifier: (_problem, { name }) => ({
    cause: `the CA does not issue for ${name}`,
    action: "Use a public domain name of your own, or another CA with --acme-directory",
    permanent: true,
  }),
  serverInternal: () => ({ cause: "the CA has trouble of its own", action: WAIT }),
  tls: (_problem, { name }) => ({
    cause: `the CA was redirected to https and could not set up TLS with ${name}`,
    action: `Let port 80 of ${name} reach this server without another one that redirects /.well-known/acme-challenge/`,
  }),
  unauthorized: (problem, context) =>
    (context.about === "challenge" ? wrongAnswer : refusedAccount)(problem, context),
  unsupportedContact: () => ({
    cause: "the CA does not accept this kind of contact",
    action: "Give another address with --email, or none",
    permanent: true,
  }),
  unsupportedIdentifier: (_problem, { name }) => ({
    cause: `the CA issues for no names such as ${name}`,
    action: "Use a public domain name, or another CA with --acme-directory",
    permanent: true,
  }),
  userActionRequired: ({ instance }) => ({
    cause: "the CA wants the account's owner to do something first, such as to agree to new terms",
    action: instance === undefined ? "See the CA's site" : `Visit ${instance}`,
    permanent: true,
  }),
};

const REFUSES_BINDING = new Set(["unauthorized", "malformed", "externalAccountRequired"]);

const REFUSED_BINDING: Explanation = {
  cause: "the CA does not take the binding to your account at its site",
  action:
    "Check --acme-eab-kid and --acme-eab-key: both of one pair, as the CA's site shows them, and not used up",
  permanent: true,
};

function explain(problem: AcmeProblem, context: ProblemContext): Explanation {
  const name = problem.identifier ?? (context.names.length === 0 ? "the domain" : context.names.join(", "));
  if (context.about === "binding" && REFUSES_BINDING.has(problem.type)) return REFUSED_BINDING;
  const known = Object.hasOwn(EXPLANATIONS, problem.type) ? EXPLANATIONS[problem.type] : undefined;
  if (known !== undefined) return known(problem, { ...context, name });
  // Without a type of ACME's the status decides (RFC 8555 §6.7: a CA may leave the document out).
  if (problem.status === 429) return EXPLANATIONS["rateLimited"]!(problem, { ...context, name });
  if (problem.status >= 500) {
    const cause =
      problem.status === 503
        ? "the CA is down for maintenance, or overloaded"
        : "the CA has trouble of its own";
    return { cause: `${cause} (HTTP ${problem.status})`, action: WAIT };
  }
  if (problem.type === "" && problem.status === 0) {
    return { cause: "the CA calls it invalid", action: "Nothing: another order is placed by itself" };
  }
  const what = problem.type === "" ? `HTTP ${problem.status}` : problem.type;
  return { cause: `the CA refused it (${what})`, action: "See what the CA says" };
}

/** `2026-12-05 23:56 UTC`, rounded up so that nobody looks too early. */
function minute(atMs: number): string {
  return `${new Date(Math.ceil(atMs / 60_000) * 60_000).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** Milliseconds that a CA asks to wait in its prose, such as "retry after 2026-12-05 23:56:08 UTC: see https://…"; at most eight days. */
export function retryAfterInText(text: string, nowMs: number): number | undefined {
  const [, day, time] =
    /retry after (\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.\d+)? ?(?:Z|UTC)/i.exec(text) ?? [];
  if (day === undefined) return undefined;
  const at = Date.parse(`${day}T${time}Z`);
  return Number.isNaN(at) || at <= nowMs ? undefined : Math.min(at - nowMs, LONGEST_WAIT_MS);
}

/** The error for people, with what is wrong, what the CA says of it, and what to do. */
export function explainProblem(problem: AcmeProblem, context: ProblemContext): AcmeError {
  const parts = problem.subproblems.length === 0 ? [problem] : problem.subproblems;
  const explained = parts.map((part) => ({ part, ...explain(part, context) }));
  const waits = [
    context.retryAfterMs,
    ...[problem, ...parts].map((part) => retryAfterInText(part.detail, context.nowMs)),
  ];
  const wait = Math.max(...waits.map((ms) => ms ?? -1));
  const retryAtMs = wait < 0 ? undefined : context.nowMs + wait;
  const until = retryAtMs === undefined || wait < 60_000 ? "" : `, until ${minute(retryAtMs)}`;
  const types = new Set(parts.map((part) => part.type));
  const causes = explained.map(
    ({ part, cause }) => `${cause}${until}${part.detail === "" ? "" : `; the CA says: "${part.detail}"`}`,
  );
  return new AcmeError(`Cannot ${context.doing}: ${[...new Set(causes)].join("; and ")}`, {
    type: types.size === 1 ? parts[0]!.type || `http${parts[0]!.status}` : "compound",
    action: [...new Set(explained.map(({ action }) => action))].join("; "),
    // One name that is refused for good keeps the whole order from succeeding.
    permanent: explained.some(({ permanent }) => permanent === true),
    retryAtMs,
  });
}
