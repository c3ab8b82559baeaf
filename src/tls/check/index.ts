import { NOT_TRIED, type Outcome } from "../../base/check-result.ts";
import type { Clock } from "../../base/clock.ts";
import { hostPort } from "../../base/ip-address.ts";
import { trustedRoots } from "../../base/trusted-roots.ts";
import { judgeCertificate, judgeHandshake, lookAtCertificate, type Presented } from "./certificate-steps.ts";
import { attempt, type Context, type DomainResult, type DomainStep } from "./context.ts";
import { checkIdleLink } from "./idle-link.ts";
import { resolveName, systemLookup, type Lookup } from "./names.ts";
import { checkPlainPort, checkSecurePort } from "./ports.ts";
import { checkProtocols } from "./protocols.ts";
import { checkModels, checkStream, checkWorkerLink, urlOf } from "./relay-steps.ts";

export { DOMAIN_STEPS, type DomainResult, type DomainStep } from "./context.ts";

export interface DomainCheckOptions {
  clock: Clock;
  /** Time that a silent WebSocket is held; 0 leaves the step out. */
  waitMs: number;
  httpPort?: number;
  httpsPort?: number;
  /** Address that is dialled whatever the name says, so that a server can be looked at before DNS is changed. */
  connect?: string;
  /** Certificates of authorities that are trusted beside the system's. */
  caPem?: string;
  /** Called every 15 s while a step takes its time. */
  onProgress?: (step: DomainStep, target: string, waitedMs: number) => void;
  lookup?: Lookup;
}

/**
 * Looks for what keeps clients and workers from reaching a relay by its name, in the order in which
 * people search. Never rejects; each step has a deadline. A step that comes for several addresses has a
 * result for each. Sends no secret, and changes nothing.
 *
 * @param domain a name as `parseDomain` gives it, or an address
 * @param onResult called as each result comes
 */
export async function checkDomain(
  domain: string,
  options: DomainCheckOptions,
  onResult: (result: DomainResult) => void = () => {},
): Promise<DomainResult[]> {
  const { clock, connect, lookup = systemLookup, onProgress } = options;
  const context: Context = {
    domain,
    clock,
    roots: trustedRoots(options.caPem),
    httpPort: options.httpPort ?? 80,
    httpsPort: options.httpsPort ?? 443,
    waitMs: options.waitMs,
    progress: (step, target, waitedMs) => onProgress?.(step, target, waitedMs),
  };
  const results: DomainResult[] = [];
  const add = (step: DomainStep, outcome: Outcome): boolean => {
    const result = { step, ...outcome };
    results.push(result);
    onResult(result);
    return outcome.ok !== false;
  };
  const skip = (...steps: DomainStep[]): void => {
    for (const step of steps) add(step, { target: domain, ok: undefined, details: NOT_TRIED });
  };

  const { outcome, addresses } = await resolveName(domain, connect, clock, lookup);
  add("name resolves", outcome);
  if (addresses.length === 0) skip("port 80", "port 443");
  for (const address of addresses) {
    add(
      "port 80",
      await attempt(hostPort(address, context.httpPort), () => checkPlainPort(context, address)),
    );
  }
  const open: string[] = [];
  for (const address of addresses) {
    const port = await checkSecurePort(context, address);
    add("port 443", port);
    if (port.ok === true) open.push(address);
  }

  const usable = await checkCertificates(context, open, add);
  if (usable === undefined) {
    if (open.length === 0) skip("chain trusted");
    skip("name matches", "days left", "protocols");
    skip("models over https", "worker link", "stream unbuffered", "idle link kept");
    return results;
  }
  const run = async (step: DomainStep, act: () => Promise<Outcome>): Promise<boolean> =>
    add(step, await attempt(urlOf(context, "/"), act));
  await run("protocols", () => checkProtocols(context, usable));
  await run("models over https", () => checkModels(context, usable));
  const linked = await run("worker link", () => checkWorkerLink(context, usable));
  await run("stream unbuffered", () => checkStream(context, usable));
  if (linked) await run("idle link kept", () => checkIdleLink(context, usable));
  else skip("idle link kept");
  return results;
}

/**
 * The certificate of the first address that shows one, and those of others that show another one: an
 * address that was forgotten may be somebody else's by now.
 *
 * @returns the address for the further steps; `undefined` if no handshake succeeds
 */
async function checkCertificates(
  context: Context,
  addresses: readonly string[],
  add: (step: DomainStep, outcome: Outcome) => boolean,
): Promise<string | undefined> {
  let usable: string | undefined;
  const known = new Set<string>();
  for (const address of addresses) {
    let presented: Presented;
    try {
      presented = await lookAtCertificate(context, address);
    } catch (error) {
      add("chain trusted", judgeHandshake(context, address, error));
      continue;
    }
    usable ??= address;
    const { facts, chainError } = presented;
    const same = `${facts.serial} ${facts.pin} ${chainError ?? ""}`;
    if (known.has(same)) continue;
    known.add(same);
    const { chain, name, days } = judgeCertificate(context, address, presented);
    add("chain trusted", chain);
    add("name matches", name);
    add("days left", days);
  }
  return usable;
}
