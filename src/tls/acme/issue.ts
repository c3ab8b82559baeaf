import { openSession, retireAccount } from "./account.ts";
import { newKey, orderFor, type AcmeSession } from "./session.ts";
import { AcmeError } from "./error.ts";
import { OrderRun } from "./order.ts";
import { caName } from "./transport.ts";
import type { AcmeOptions, Order } from "./types.ts";
import { checkPair, coversName, pairMatches, readCertificate, type KeyPair } from "../certificate.ts";
import { messageOf, Problem } from "../../base/errors.ts";
import { certificateBlocks } from "../../base/pem.ts";
import type { CertificateStore, PendingOrder } from "../store/store.ts";

/** Refusals that say nothing about `replaces`: the same order without it would fare no better. */
const NOT_ABOUT_REPLACES = new Set([
  "accountDoesNotExist",
  "badNonce",
  "caa",
  "invalidProfile",
  "notUnderstood",
  "rateLimited",
  "rejectedIdentifier",
  "timeout",
  "unreachable",
  "unsupportedIdentifier",
  "untrusted",
  "userActionRequired",
]);

/** Public CAs send two to four. OpenSSL's clients take 100 KB, and each handshake carries them all. */
const MAX_CHAIN = 16;

export interface IssueExtra {
  /** `CertificateFacts.ariId` of the certificate that the new one is for (RFC 9773 §5). */
  replaces?: string;
  signal: AbortSignal;
}

/**
 * Gets one certificate for the names, and stores it for the first of them. An order that a process before
 * this one had begun is gone on with. Whatever must outlive a kill is in the store before it is needed:
 * the account's key before the account, the certificate's key before the order, the order's address before
 * it is paid for with a request, the certificate before the order is forgotten.
 *
 * The caller holds the domain's lock: two calls for one domain at once would place two orders.
 *
 * @throws {AcmeError} if the CA refuses or cannot be reached; {Problem} of the store
 * @throws the signal's reason, within a moment after it is aborted
 */
export async function issueCertificate(
  names: string[],
  store: CertificateStore,
  options: AcmeOptions,
  extra: IssueExtra,
): Promise<KeyPair> {
  const { signal } = extra;
  for (let retired = false; ; retired = true) {
    const session = await openSession(store, options, signal);
    try {
      return await new Issue(names, store, session, extra).run();
    } catch (error) {
      if (retired || !(error instanceof AcmeError) || !(await isAccountGone(error, session))) throw error;
      // Orders belong to their account; one of an account that is gone cannot be gone on with.
      await store.dropPendingOrder(names[0]!);
      await retireAccount(session, store, signal);
    }
  }
}

async function isAccountGone(error: AcmeError, session: AcmeSession): Promise<boolean> {
  if (error.type === "accountDoesNotExist") return true;
  return error.type === "unauthorized" && !(await session.accountWorks());
}

class Issue {
  readonly #names: string[];
  /** Under which the certificate is kept. */
  readonly #domain: string;
  readonly #store: CertificateStore;
  readonly #session: AcmeSession;
  readonly #extra: IssueExtra;

  constructor(names: string[], store: CertificateStore, session: AcmeSession, extra: IssueExtra) {
    const [domain] = names;
    if (domain === undefined) throw new RangeError("Cannot get a certificate: there are no names");
    this.#names = names;
    this.#domain = domain;
    this.#store = store;
    this.#session = session;
    this.#extra = extra;
  }

  async run(): Promise<KeyPair> {
    for (;;) {
      const resumed = await this.#resume();
      const { pending, order } = resumed ?? (await this.#place());
      const run = new OrderRun(
        this.#session,
        this.#store,
        { names: this.#names, keyPem: pending.keyPem },
        this.#extra.signal,
      );
      let chainPem;
      try {
        chainPem = await run.finish(order);
      } catch (error) {
        if (error instanceof AcmeError) await this.#forgetIfInvalid(order);
        throw error;
      }
      const pair = { chainPem, keyPem: pending.keyPem };
      if (!pairMatches(pair)) {
        await this.#drop("its certificate is for another key");
        if (resumed !== undefined) continue;
        throw new AcmeError(`Cannot ${orderFor(this.#names)}: the CA sent one for another key`, {
          type: "wrongCertificate",
          action: "Nothing: another order is placed by itself",
        });
      }
      if (resumed !== undefined && this.#isOld(chainPem)) {
        await this.#drop("its certificate has been there for long");
        continue;
      }
      await this.#refuseUseless(pair);
      await this.#store.saveCertificate(this.#domain, pair);
      await this.#store.dropPendingOrder(this.#domain);
      return pair;
    }
  }

  /** The order that a process before this one had begun, if it can still be used. */
  async #resume(): Promise<{ pending: PendingOrder; order: Order } | undefined> {
    const pending = await this.#store.pendingOrder(this.#domain);
    if (pending === undefined) return undefined;
    if (pending.directoryUrl !== this.#session.directory.url) return this.#drop("it is of another CA");
    if (!sameNames(pending.names, this.#names)) return this.#drop("it is for other names");
    const stored = await this.#store.certificate(this.#domain);
    if (stored?.keyPem.trim() === pending.keyPem.trim()) return this.#drop("its certificate is here");
    const order = pending.orderUrl === "" ? await this.#findPlaced() : await this.#look(pending.orderUrl);
    if (order === undefined) return this.#drop("the CA does not know it");
    if (order.status === "invalid") return this.#drop("the CA calls it invalid");
    this.#session.options.log.info("Going on with an order that was begun before", {
      domain: this.#domain,
      status: order.status,
    });
    if (pending.orderUrl !== "") return { pending, order };
    const found = { ...pending, orderUrl: order.url };
    await this.#store.savePendingOrder(this.#domain, found);
    return { pending: found, order };
  }

  async #place(): Promise<{ pending: PendingOrder; order: Order }> {
    const { options, directory } = this.#session;
    const { profile } = options;
    const profiles = Object.keys(directory.meta?.profiles ?? {});
    if (profile !== undefined && !profiles.includes(profile)) {
      throw new AcmeError(`Cannot ${orderFor(this.#names)}: the CA has no profile "${profile}"`, {
        type: "noProfile",
        action: profiles.length === 0 ? "Choose none" : `Choose one of ${profiles.join(", ")}, or none`,
        permanent: true,
      });
    }
    await this.#store.prove();
    const intent: PendingOrder = {
      orderUrl: "",
      keyPem: await newKey(),
      names: this.#names,
      directoryUrl: directory.url,
      createdAt: options.clock.wall(),
    };
    // A kill after the CA has the order and before its address is here leaves this trace to look for it.
    await this.#store.savePendingOrder(this.#domain, intent);
    let order;
    try {
      order = await this.#placeOrder();
    } catch (error) {
      // A refusal means that there is no order; after anything else nobody knows.
      if (
        error instanceof AcmeError &&
        !/^(timeout|unreachable|notUnderstood|serverInternal|http5\d\d)$/.test(error.type)
      )
        await this.#store.dropPendingOrder(this.#domain);
      throw error;
    }
    const pending = { ...intent, orderUrl: order.url };
    await this.#store.savePendingOrder(this.#domain, pending);
    options.log.info("Placed an order", { domain: this.#domain, ca: caName(directory.url) });
    return { pending, order };
  }

  async #placeOrder(): Promise<Order> {
    const { directory, options } = this.#session;
    const replaces = directory.renewalInfo === undefined ? undefined : this.#extra.replaces;
    try {
      return await this.#session.placeOrder(this.#names, replaces);
    } catch (error) {
      if (replaces === undefined || !(error instanceof AcmeError) || NOT_ABOUT_REPLACES.has(error.type))
        throw error;
      options.log.warn("Ordering without naming the certificate that is replaced, as the CA refused that", {
        domain: this.#domain,
        reason: error.message,
      });
      return this.#session.placeOrder(this.#names, undefined);
    }
  }

  /** The order whose address was lost: young, for these names, and not yet paid for with a request. */
  async #findPlaced(): Promise<Order | undefined> {
    for (const url of (await this.#session.listOrders()).toReversed().slice(0, 5)) {
      const order = await this.#look(url);
      const names = order?.identifiers.map(({ value }) => value) ?? [];
      if (order !== undefined && /^(pending|ready)$/.test(order.status) && sameNames(names, this.#names))
        return order;
    }
    return undefined;
  }

  async #look(url: string): Promise<Order | undefined> {
    try {
      const where = { doing: orderFor(this.#names), names: this.#names };
      return (await this.#session.order(url, where)).value;
    } catch (error) {
      // RFC 8555 says nothing of an order that is gone; CAs answer 404, which comes as malformed.
      if (error instanceof AcmeError && /^(malformed|http404|http410)$/.test(error.type)) return undefined;
      // It is of an account that was here before.
      if (error instanceof AcmeError && error.type === "unauthorized" && (await this.#session.accountWorks()))
        return undefined;
      throw error;
    }
  }

  /** An invalid order can only be replaced; any other one is gone on with at the next try. */
  async #forgetIfInvalid(order: Order): Promise<void> {
    try {
      const now = await this.#look(order.url);
      if (now === undefined || now.status === "invalid") await this.#drop("the CA calls it invalid");
    } catch {
      // The next try looks again; what stopped this one is the news.
    }
  }

  async #drop(reason: string): Promise<undefined> {
    this.#session.options.log.info("Dropping an order", { domain: this.#domain, reason });
    await this.#store.dropPendingOrder(this.#domain);
  }

  /**
   * Keeps what is served from being replaced by something worse. One that is not valid yet is taken: a
   * clock that is behind is set by and by, and the clients' are right.
   *
   * @throws {AcmeError} which makes the next try wait: it would order again and get the same
   */
  async #refuseUseless(pair: KeyPair): Promise<void> {
    try {
      const { notBefore } = readCertificate(pair.chainPem);
      const { names } = checkPair(pair, Math.max(this.#session.options.clock.wall(), notBefore));
      const missing = this.#names.find((name) => !coversName(names, name));
      const length = certificateBlocks(pair.chainPem).length;
      if (missing !== undefined) throw new Problem(`it is not for ${missing}`);
      if (length > MAX_CHAIN) throw new Problem(`its chain has ${length} certificates`);
    } catch (cause) {
      await this.#drop("its certificate is of no use");
      const why = messageOf(cause).replace(/^Cannot use the certificate: /, "");
      throw new AcmeError(`Cannot ${orderFor(this.#names)}: the CA sent one that is of no use: ${why}`, {
        type: "wrongCertificate",
        action: `Check this machine's clock, which says ${new Date(this.#session.options.clock.wall()).toISOString()}; if it is right, tell the CA's operators`,
        permanent: true,
        cause,
      });
    }
  }

  /** Whether a certificate that was issued long ago had better be replaced than taken up. */
  #isOld(chainPem: string): boolean {
    const { notBefore, notAfter } = readCertificate(chainPem);
    return this.#session.options.clock.wall() > notBefore + (notAfter - notBefore) / 2;
  }
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name) => b.includes(name));
}
