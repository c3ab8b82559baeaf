import type { Clock } from "../base/clock.ts";
import { AttemptThrottle } from "./attempt-throttle.ts";
import type { KeyRing } from "./keys/key-ring.ts";
import { isOfOurMaking } from "./keys/secrets.ts";
import { KnownSecret } from "./known-secret.ts";

/** A secret of the database that a worker has shown. */
export interface ShownSecret {
  readonly id: string;
  readonly name: string;
  /** What the worker may offer; `undefined` for all. */
  readonly models: ReadonlySet<string> | undefined;
}

export type Admission =
  /** `credential` stands for the secret, and tells nothing of it. */
  | { kind: "admitted"; credential: string; secret?: ShownSecret }
  | { kind: "wrong_secret" }
  /** The database cannot be reached to ask whether there is such a secret. */
  | { kind: "unavailable" }
  | { kind: "throttled"; retryAfterSecs: number };

/** Decides who may connect as a worker: by the relay's own secret, or by one of the database. */
export class WorkerAdmission {
  readonly #own: KnownSecret;
  readonly #ring: KeyRing | undefined;
  readonly #throttle: AttemptThrottle;

  constructor(secret: string, clock: Clock, ring?: KeyRing) {
    this.#own = new KnownSecret(secret);
    this.#ring = ring;
    this.#throttle = new AttemptThrottle(clock);
  }

  admit(address: string, presented: string | undefined): Admission {
    const retryAfterSecs = this.#throttle.waitSecs(address);
    if (retryAfterSecs > 0) return { kind: "throttled", retryAfterSecs };
    if (presented !== undefined && this.#own.is(presented))
      return { kind: "admitted", credential: this.#own.credential };
    const found = presented === undefined ? undefined : this.#ring?.findWorkerSecret(presented);
    if (found?.kind === "valid") {
      const { id, name, models } = found.record;
      const secret = { id, name, models: models && new Set(models) };
      return { kind: "admitted", credential: `secret ${id}`, secret };
    }
    // Only what may be a secret of the database is worth another try.
    if (found?.kind === "unavailable" && presented !== undefined && isOfOurMaking(presented))
      return { kind: "unavailable" };
    this.#throttle.failed(address);
    return { kind: "wrong_secret" };
  }

  /** Whether a secret that a worker has shown still holds; without one it has shown the relay's own. */
  holds(secret: ShownSecret | undefined): boolean {
    return secret === undefined || this.#ring?.isWorkerSecretValid(secret.id) === true;
  }

  /** Whether a value is the relay's own secret, or looks like one of the database. */
  isSecret(presented: string): boolean {
    return isOfOurMaking(presented) || this.#own.is(presented);
  }
}
