import { AsyncLocalStorage } from "node:async_hooks";
import { axios, Client, crypto } from "acme-client";
import type { z } from "zod";
import { version } from "../../base/build-info.ts";
import { messageOf, Problem } from "../../base/errors.ts";
import { readBody, type Directory } from "./directory.ts";
import { AcmeError } from "./error.ts";
import { explainProblem, readProblem, type AcmeProblem, type ProblemContext } from "./problem.ts";
import { caName, exchange, type Reply, type Route } from "./transport.ts";
import {
  authorizationSchema,
  orderListSchema,
  orderSchema,
  understood,
  type AcmeOptions,
  type Answer,
  type Authorization,
  type Challenge,
  type Order,
} from "./types.ts";
import { parseRetryAfter } from "../../base/retry-after.ts";
import type { StoredAccount } from "../store/store.ts";

// The library signs, and follows the protocol's forms; it does not get to the network. Its own way there
// waits for hours within a call if the CA says so, tells errors as text, and knows one set of trusted
// certificates for the whole process. So its HTTP client is given another adapter, which needs to know
// for whom a request is: that is what the context holds.

/** A refusal on its way out of the library. Without the `config` that makes the library retry it. */
class Refusal extends Error {
  readonly problem: AcmeProblem;
  readonly retryAfterMs: number | undefined;

  constructor(problem: AcmeProblem, retryAfterMs: number | undefined) {
    super(problem.detail);
    this.problem = problem;
    this.retryAfterMs = retryAfterMs;
  }
}

interface Context {
  route: Route;
  directory: Directory;
  last: Reply | undefined;
}

const contexts = new AsyncLocalStorage<Context>();

axios.defaults.adapter = async (config) => {
  const context = contexts.getStore();
  if (context === undefined) throw new Error("Cannot send a request of acme-client: nobody asked for it");
  const url = config.url ?? "";
  const method = (config.method ?? "get").toUpperCase();
  const body = typeof config.data === "string" ? config.data : undefined;
  const reply =
    url === context.directory.url
      ? context.directory.reply
      : await exchange(
          url,
          {
            method,
            headers: { "content-type": "application/jose+json", "user-agent": `modelrelay/${version}` },
            body,
          },
          context.route,
        );
  context.last = reply;
  if (reply.status >= 300) {
    const problem = readProblem(readBody(reply.body), reply.status);
    // This one the library answers with another nonce, five times.
    if (problem.type !== "badNonce")
      throw new Refusal(problem, parseRetryAfter(reply.headers["retry-after"], context.route.clock.wall()));
  }
  return { data: reply.body, status: reply.status, statusText: "", headers: reply.headers, config };
};

/** What a request is for, for the wording of its failure. */
export type Where = Pick<ProblemContext, "doing" | "names" | "about" | "address">;

/** A new key on P-256, as PEM. */
export async function newKey(): Promise<string> {
  return (await crypto.createPrivateEcdsaKey("P-256")).toString();
}

/** One account's way to a CA. Every call ends in an `AcmeError`, or the signal's reason, if it fails. */
export class AcmeSession {
  readonly directory: Directory;
  readonly options: AcmeOptions;
  readonly #route: Route;
  readonly #client: Client;
  readonly #account: StoredAccount;

  constructor(directory: Directory, account: StoredAccount, options: AcmeOptions, signal: AbortSignal) {
    this.directory = directory;
    this.options = options;
    this.#account = account;
    this.#route = { caPem: options.caPem, clock: options.clock, signal };
    this.#client = new Client({
      directoryUrl: directory.url,
      accountKey: account.keyPem,
      ...(account.accountUrl === undefined ? {} : { accountUrl: account.accountUrl }),
      ...(options.eab === undefined ? {} : { externalAccountBinding: options.eab }),
    });
  }

  get accountKeyPem(): string {
    return this.#account.keyPem;
  }

  /** Registers the key, or finds the account that it has (RFC 8555 §7.3, §7.3.1). @returns its URL */
  async register(): Promise<string> {
    const doing = `open an account at ${caName(this.directory.url)}`;
    const bound = this.#account.eabKid !== undefined || this.options.eab !== undefined;
    if (this.directory.meta?.externalAccountRequired === true && !bound) {
      const missing = readProblem({ type: "urn:ietf:params:acme:error:externalAccountRequired" }, 403);
      throw explainProblem(missing, { doing, names: [], nowMs: this.options.clock.wall() });
    }
    const about = this.options.eab === undefined ? undefined : "binding";
    try {
      await this.#run({ doing, names: [], about }, (client) =>
        client.createAccount({ termsOfServiceAgreed: true, ...this.#contact() }),
      );
    } catch (error) {
      // For a key that has an account the library goes on with an update, which a CA may refuse when
      // there is nothing to change. By then the address is known.
      if (this.#accountUrl() === undefined) throw error;
    }
    const accountUrl = this.#accountUrl();
    if (accountUrl !== undefined) return accountUrl;
    throw notUnderstood(doing, new Error("the account's address is missing"));
  }

  /** Tells the CA another e-mail address. */
  async updateContact(): Promise<void> {
    await this.#run(
      { doing: `tell the CA the e-mail address "${this.options.email}"`, names: [] },
      (client) => client.updateAccount(this.#contact()),
    );
  }

  /** Whether the CA takes requests of this account. */
  async accountWorks(): Promise<boolean> {
    try {
      const account = await this.#run({ doing: "look at the account", names: [] }, (client) =>
        client.updateAccount({}),
      );
      return account.value.status === "valid";
    } catch (error) {
      if (error instanceof AcmeError && /^(accountDoesNotExist|unauthorized)$/.test(error.type)) return false;
      throw error;
    }
  }

  /** Orders of this account at the CA, where it tells them; Let's Encrypt does not (RFC 8555 §7.1.2.1). */
  async listOrders(): Promise<string[]> {
    const where = { doing: "list the account's orders", names: [] };
    const account = await this.#run(where, (client) => client.updateAccount({}));
    const orders: string[] = [];
    let page: string | undefined = account.value.orders;
    // An account with more pages than that has orders of years.
    for (let pages = 0; page !== undefined && pages < 100; pages++) {
      const list: Answer<z.infer<typeof orderListSchema>> = await this.#get(orderListSchema, page, where);
      orders.push(...(list.value.orders ?? []));
      page = /<([^>]+)>\s*;\s*rel="?next\b/.exec(list.headers["link"] ?? "")?.[1];
    }
    return orders;
  }

  async placeOrder(names: readonly string[], replaces: string | undefined): Promise<Order> {
    const { profile } = this.options;
    const body = {
      identifiers: names.map((value) => ({ type: "dns", value })),
      ...(profile === undefined ? {} : { profile }),
      ...(replaces === undefined ? {} : { replaces }),
    };
    const placed = await this.#run({ doing: orderFor(names), names }, async (client) =>
      understood(orderSchema, await client.createOrder(body)),
    );
    return placed.value;
  }

  order(url: string, where: Where): Promise<Answer<Order>> {
    return this.#get(orderSchema, url, where);
  }

  authorization(url: string, where: Where): Promise<Answer<Authorization>> {
    return this.#get(authorizationSchema, url, where);
  }

  /** Reads something at the CA (POST-as-GET, RFC 8555 §6.3). */
  #get<T>(schema: z.ZodType<T>, url: string, where: Where): Promise<Answer<T>> {
    return this.#run(where, async (client) =>
      understood(schema, await client.getOrder({ url } as Parameters<Client["getOrder"]>[0])),
    );
  }

  /** What is to be answered to a challenge on port 80. */
  keyAuthorization(challenge: Challenge): Promise<string> {
    return this.#client.getChallengeKeyAuthorization(
      challenge as Parameters<Client["getChallengeKeyAuthorization"]>[0],
    );
  }

  /** Tells the CA that the answer stands. */
  async completeChallenge(challenge: Challenge, name: string): Promise<void> {
    await this.#run({ doing: orderFor([name]), names: [name] }, (client) =>
      client.completeChallenge(challenge as Parameters<Client["completeChallenge"]>[0]),
    );
  }

  /** Hands in the request for a certificate with the names and the key. */
  async finalize(order: Order, names: readonly string[], keyPem: string): Promise<Answer<Order>> {
    const [, csr] = await crypto.createCsr({ altNames: [...names] }, keyPem);
    return this.#run({ doing: orderFor(names), names }, async (client) =>
      understood(
        orderSchema,
        await client.finalizeOrder(order as Parameters<Client["finalizeOrder"]>[0], csr),
      ),
    );
  }

  /** The chain of an order that is valid, as PEM. */
  async download(order: Order, names: readonly string[]): Promise<string> {
    return (
      await this.#run({ doing: orderFor(names), names }, (client) =>
        client.getCertificate(order as Parameters<Client["getCertificate"]>[0]),
      )
    ).value;
  }

  /** @param reason RFC 5280 §5.3.1 */
  async revoke(certificatePem: string, reason: number): Promise<void> {
    await this.#run({ doing: "revoke the certificate", names: [] }, (client) =>
      client.revokeCertificate(certificatePem, { reason }),
    );
  }

  /** Revokes by the certificate's own key, which is this session's "account" (RFC 8555 §7.6). */
  async revokeWithOwnKey(certificatePem: string, reason: number): Promise<void> {
    // The library signs every request but the first with an account, and has no public way around that.
    const { api } = this.#client as unknown as {
      api: {
        apiResourceRequest(
          resource: string,
          data: object,
          statuses: number[],
          options: { includeJwsKid: boolean },
        ): Promise<unknown>;
      };
    };
    const body = { certificate: crypto.getPemBodyAsB64u(certificatePem), reason };
    await this.#run({ doing: "revoke the certificate", names: [] }, () =>
      api.apiResourceRequest("revokeCert", body, [200], { includeJwsKid: false }),
    );
  }

  /** The error for a challenge or an order that the CA calls invalid. */
  refused(error: unknown, where: Where): AcmeError {
    return this.#explain(readProblem(error, 0), undefined, where);
  }

  #accountUrl(): string | undefined {
    try {
      return this.#client.getAccountUrl();
    } catch {
      return undefined;
    }
  }

  #contact(): { contact?: string[] } {
    return this.options.email === undefined ? {} : { contact: [`mailto:${this.options.email}`] };
  }

  #explain(problem: AcmeProblem, retryAfterMs: number | undefined, where: Where): AcmeError {
    return explainProblem(problem, {
      ...where,
      caaIdentity: this.directory.meta?.caaIdentities?.[0],
      nowMs: this.options.clock.wall(),
      retryAfterMs,
    });
  }

  async #run<T>(where: Where, call: (client: Client) => Promise<T>): Promise<Answer<T>> {
    const context: Context = { route: this.#route, directory: this.directory, last: undefined };
    try {
      const value = await contexts.run(context, () => call(this.#client));
      const { headers = {} } = context.last ?? {};
      return {
        value,
        headers,
        retryAfterMs: parseRetryAfter(headers["retry-after"], this.options.clock.wall()),
      };
    } catch (error) {
      if (error instanceof Refusal) throw this.#explain(error.problem, error.retryAfterMs, where);
      if (error instanceof Problem || this.#route.signal.aborted) throw error;
      // The library gave up on an answer: after many nonces, or because something in it is missing.
      const { last } = context;
      if (last !== undefined && last.status >= 300)
        throw this.#explain(readProblem(readBody(last.body), last.status), undefined, where);
      throw notUnderstood(where.doing, error);
    }
  }
}

function notUnderstood(doing: string, cause: unknown): AcmeError {
  return new AcmeError(`Cannot ${doing}: the CA's answer is not understood (${messageOf(cause)})`, {
    type: "notUnderstood",
    action: "Check that --acme-directory names a CA that speaks ACME (RFC 8555)",
    cause,
  });
}

/** How an order is called in messages. */
export function orderFor(names: readonly string[]): string {
  return `get a certificate for ${names.join(", ")}`;
}
