import { orderFor, type AcmeSession } from "./session.ts";
import { AcmeError } from "./error.ts";
import type { Answer, Authorization, Order } from "./types.ts";
import type { CertificateStore } from "../store/store.ts";
import { wait } from "../../base/wait.ts";

/** A CA that takes longer to look at a name, or to issue, is given up on until the next try. */
const PATIENCE_MS = 5 * 60_000;
const FIRST_LOOK_MS = 250;
const LONGEST_LOOK_MS = 10_000;

/** A new look at something at the CA. */
type Look<T> = () => Promise<Answer<T>>;

/** Brings one order at a CA to its end, wherever it stands. */
export class OrderRun {
  readonly #session: AcmeSession;
  readonly #store: CertificateStore;
  readonly #names: readonly string[];
  readonly #keyPem: string;
  readonly #signal: AbortSignal;

  constructor(
    session: AcmeSession,
    store: CertificateStore,
    certificate: { names: readonly string[]; keyPem: string },
    signal: AbortSignal,
  ) {
    this.#session = session;
    this.#store = store;
    this.#names = certificate.names;
    this.#keyPem = certificate.keyPem;
    this.#signal = signal;
  }

  /**
   * Answers what the CA asks for, hands in the request, and waits for the certificate.
   *
   * @returns the chain, as PEM
   * @throws {AcmeError} if the CA refuses; the order can be gone on with unless it is invalid
   */
  async finish(order: Order): Promise<string> {
    const look: Look<Order> = () => this.#session.order(order.url, this.#where());
    let current = order;
    if (current.status === "pending") {
      await this.#authorize(current);
      current = await this.#until(look, ({ status }) => status !== "pending");
    }
    if (current.status === "ready") {
      const { value, retryAfterMs } = await this.#session.finalize(current, this.#names, this.#keyPem);
      current =
        value.status === "processing" || value.status === "ready"
          ? await this.#until(look, ({ status }) => status === "valid" || status === "invalid", retryAfterMs)
          : value;
    }
    if (current.status === "processing")
      current = await this.#until(look, ({ status }) => status !== "processing");
    if (current.status === "valid") return this.#session.download(current, this.#names);
    throw this.#session.refused(current.error, this.#where());
  }

  #where(): { doing: string; names: readonly string[] } {
    return { doing: orderFor(this.#names), names: this.#names };
  }

  /** Answers every challenge at once; the CA looks at the names side by side. */
  async #authorize(order: Order): Promise<void> {
    const answered: string[] = [];
    try {
      const checks = await Promise.allSettled(
        [...new Set(order.authorizations)].map(async (url) => {
          const look: Look<Authorization> = () => this.#session.authorization(url, this.#where());
          const { value: authorization } = await look();
          if (authorization.status === "pending") await this.#answer(authorization, answered);
          return this.#until(look, ({ status }) => status !== "pending");
        }),
      );
      const stopped = checks.find((check) => check.status === "rejected");
      if (stopped !== undefined) throw stopped.reason;
      const settled = checks.flatMap((check) => (check.status === "fulfilled" ? [check.value] : []));
      const refused = settled.filter(({ status }) => status !== "valid");
      if (refused.length > 0) throw this.#failure(refused);
    } finally {
      for (const token of answered) await this.#store.dropChallenge(token);
    }
  }

  async #answer(authorization: Authorization, answered: string[]): Promise<void> {
    const name = authorization.identifier.value;
    const [challenge] = authorization.challenges;
    if (challenge === undefined) {
      throw new AcmeError(`Cannot ${orderFor(this.#names)}: the CA offers no check of ${name} over port 80`, {
        type: "noHttpChallenge",
        action: "Use a CA that offers the challenge http-01, with --acme-directory",
        permanent: true,
      });
    }
    await this.#store.saveChallenge(challenge.token, await this.#session.keyAuthorization(challenge));
    answered.push(challenge.token);
    // A run before this one may have told the CA already; it may not be told twice.
    if (challenge.status === "pending") await this.#session.completeChallenge(challenge, name);
  }

  #failure(refused: Authorization[]): AcmeError {
    const failed = refused.map(({ status, identifier, challenges }) => {
      const challenge = challenges.find(({ error }) => typeof error === "object" && error !== null);
      const problem = (challenge?.error as object | undefined) ?? {
        detail: `the check of the name is ${status}`,
      };
      return {
        problem: { ...problem, identifier },
        address: challenge?.validationRecord?.at(-1)?.addressUsed,
      };
    });
    const [first] = failed;
    const single = failed.length === 1 && first !== undefined;
    return this.#session.refused(
      single ? first.problem : { subproblems: failed.map(({ problem }) => problem) },
      {
        ...this.#where(),
        about: "challenge",
        address: single ? first.address : undefined,
      },
    );
  }

  /** @param delayMs how long to wait before the first look */
  async #until<T extends object>(look: Look<T>, done: (value: T) => boolean, delayMs = 0): Promise<T> {
    const { clock } = this.#session.options;
    const begun = clock.now();
    for (let next = FIRST_LOOK_MS, delay = delayMs; ; next *= 2) {
      if (delay > 0) await wait(clock, Math.min(delay, LONGEST_LOOK_MS), this.#signal);
      const { value, retryAfterMs } = await look();
      if (done(value)) return value;
      if (clock.now() - begun > PATIENCE_MS) {
        throw new AcmeError(`Cannot ${orderFor(this.#names)}: the CA has not come to an end in 5 min`, {
          type: "timeout",
          action: "Nothing: the same order is looked at again by itself",
        });
      }
      delay = retryAfterMs ?? next;
    }
  }
}
