import type { Clock } from "../base/clock.ts";
import { messageOf, Problem } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { AcmeError } from "./acme/error.ts";
import { checkPair, readCertificate, type CertificateFacts, type KeyPair } from "./certificate.ts";
import { ariDelayMs, timerMs, type RenewalInfo } from "./policy.ts";
import {
  isSameWindow,
  nextStep,
  stateAfterAnswer,
  stateAfterFailure,
  dueAtOnce,
  stateFor,
  type Step,
} from "./renewal.ts";
import type { CertificateReport, Identity } from "./source.ts";
import type { CertificateState, CertificateStore } from "./store/store.ts";

/** The CA, as a keeper needs it. */
export interface Authority {
  directoryUrl: string;
  /**
   * Orders a certificate and stores it, or finishes the order that a process before this one began.
   *
   * @param replaces ARI's name for the certificate that this one follows
   */
  issue(names: string[], options: { replaces?: string; signal: AbortSignal }): Promise<unknown>;
  /** `undefined`: the CA has no renewal information. */
  renewalInfo(ariId: string, signal: AbortSignal): Promise<RenewalInfo | undefined>;
}

export interface KeeperParts {
  store: CertificateStore;
  authority: Authority;
  clock: Clock;
  log: Log;
  /** In [0, 1). */
  random: () => number;
  /** There is a certificate, or another one. */
  onChange: () => void;
}

/**
 * How long a keeper looks away at most. A timer counts no time in which the machine sleeps and knows of no
 * clock that is set, and another process on the store can have renewed.
 */
const LOOK_MS = 60_000;
/** After a CA said that it has no renewal information. */
const NO_ARI_MS = 86_400_000;
/** A restart tries at once again, unless the failure is as fresh as this: something may restart us for ever. */
const FRESH_FAILURE_MS = 60_000;

/** Keeps one domain's certificate: gets it, renews it in time, and goes on with the old one however that fares. */
export class DomainKeeper {
  readonly domain: string;
  readonly #parts: KeeperParts;
  readonly #closing = new AbortController();
  #pair: KeyPair | undefined;
  #facts: CertificateFacts | undefined;
  #state: CertificateState = { failures: 0 };
  /** The store could not take the state, which therefore stands here alone. */
  #isUnsaved = false;
  #ordering = false;
  /** The next decision does not mind that a failure was to rest for longer. */
  #impatient = false;
  /** Ends the present wait. */
  #wake: () => void = () => {};
  #running: Promise<void> | undefined;

  constructor(domain: string, parts: KeeperParts) {
    this.domain = domain;
    this.#parts = parts;
  }

  /** @throws {Problem} if the store cannot be read */
  async open(): Promise<void> {
    await this.#look();
    const { lastError, waitAsked, nextTryAt: tryAt = 0 } = this.#state;
    const { clock, log } = this.#parts;
    const age = clock.wall() - (lastError?.at ?? 0);
    const fresh = age >= 0 && age < FRESH_FAILURE_MS;
    // Whoever restarts has as a rule mended what was wrong; only a wait that the CA asked for stands.
    this.#impatient = !fresh && waitAsked !== true;
    if (!this.#impatient && lastError !== undefined && tryAt > clock.wall()) {
      const nextTry = new Date(tryAt).toISOString();
      log.warn(`The next try waits until ${nextTry}, after: ${lastError.message}`, { domain: this.domain });
    }
    this.#running = this.#run();
  }

  get identity(): Identity | undefined {
    if (this.#pair === undefined) return undefined;
    const { names = [] } = this.#facts ?? {};
    return { names: [...new Set([this.domain, ...names])], ...this.#pair };
  }

  get report(): CertificateReport {
    const { renewAt, nextTryAt: tryAt, lastError } = this.#state;
    return {
      subject: this.domain,
      names: this.#facts?.names ?? [this.domain],
      ...(this.#facts !== undefined && { certificate: this.#facts }),
      ...(this.#ordering && { ordering: true }),
      ...(renewAt !== undefined && { renewAt }),
      ...(tryAt !== undefined && { nextTryAt: tryAt }),
      ...(lastError !== undefined && { lastError }),
    };
  }

  /** Tries again at once what failed. */
  retry(): void {
    this.#impatient = true;
    this.#wake();
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("the relay is stopping"));
    this.#wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      try {
        await this.#look();
      } catch (error) {
        this.#tell(`Cannot read the certificate's store: ${messageOf(error)}`, error);
        await this.#wait(Number.POSITIVE_INFINITY);
        continue;
      }
      await this.#take(this.#nextStep(this.#impatient));
    }
  }

  #nextStep(impatient: boolean): Step {
    const { authority, clock } = this.#parts;
    const { nextTryAt: _, ...unhurt } = this.#state;
    return nextStep({
      facts: this.#facts,
      state: impatient ? unhurt : this.#state,
      directoryUrl: authority.directoryUrl,
      nowMs: clock.wall(),
    });
  }

  #take(step: Step): Promise<void> {
    switch (step.kind) {
      case "wait":
        return this.#wait(step.until);
      case "ask":
        return this.#ask(step.ariId);
      case "order":
        return this.#order();
    }
  }

  #wait(until: number): Promise<void> {
    const { clock } = this.#parts;
    return new Promise((resolve) => {
      const timer = clock.after(Math.min(timerMs(clock.wall(), until), LOOK_MS), resolve);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
      if (this.#closing.signal.aborted) this.#wake();
    });
  }

  /** Takes what is in the store, where another process may have put something new. */
  async #look(): Promise<void> {
    const { store, random, onChange } = this.#parts;
    const pair = await store.certificate(this.domain);
    // What could not be written is not to be forgotten by reading what is older.
    const state = this.#isUnsaved ? this.#state : await store.state(this.domain);
    if (pair === undefined) {
      // Revoked, as a rule. What is open goes on with it until there is another.
      this.#facts = undefined;
      this.#state = state;
      if (this.#isUnsaved) await this.#save(state);
      return;
    }
    const isNew = pair.chainPem !== this.#pair?.chainPem;
    if (isNew) {
      const facts = readCertificate(pair.chainPem);
      // An expired one still tells clients what is wrong, which a closed port does not.
      checkPair(pair, facts.notAfter - 1);
      this.#pair = pair;
      this.#facts = facts;
    }
    if (this.#facts !== undefined) this.#state = stateFor(this.#facts, state, random());
    if (this.#state !== state || this.#isUnsaved) await this.#save(this.#state);
    if (isNew) onChange();
  }

  /** What is only remembered may be lost: a full disk must not keep a certificate from being served. */
  async #save(state: CertificateState): Promise<void> {
    this.#state = state;
    try {
      await this.#parts.store.saveState(this.domain, state);
      this.#isUnsaved = false;
    } catch (error) {
      if (!this.#isUnsaved) this.#tell(`Cannot remember the certificate's state: ${messageOf(error)}`, error);
      this.#isUnsaved = true;
    }
  }

  async #ask(ariId: string): Promise<void> {
    const { authority, clock, random, log } = this.#parts;
    const checkedAt = clock.wall();
    const { ari: before, ...state } = this.#state;
    try {
      const info = await authority.renewalInfo(ariId, this.#closing.signal);
      if (info === undefined) {
        // Without a window, two thirds of the lifetime hold.
        return await this.#save({
          ...state,
          ari: { checkedAt, retryAt: checkedAt + NO_ARI_MS, start: 0, end: 0 },
        });
      }
      if (info.explanationUrl !== undefined && !isSameWindow(before, info))
        log.warn("The CA wants this certificate renewed at another time", {
          domain: this.domain,
          see: info.explanationUrl,
        });
      if (this.#facts !== undefined)
        await this.#save(
          stateAfterAnswer(this.#facts, this.#state, info, { nowMs: checkedAt, random: random() }),
        );
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      log.debug(`The CA's renewal information cannot be had: ${messageOf(error)}`, { domain: this.domain });
      const kept = before ?? { start: 0, end: 0 };
      await this.#save({ ...state, ari: { ...kept, checkedAt, retryAt: checkedAt + ariDelayMs(undefined) } });
    }
  }

  /**
   * Gets a certificate now, if one is due, for whoever waits for it; not for a keeper that runs.
   *
   * @param force whether to get one although none is due
   * @returns false if none was due
   * @throws {Problem} if there is none to be had; that is remembered as well
   */
  async obtain({ force }: { force: boolean }): Promise<boolean> {
    await this.#look();
    if (!force && this.#nextStep(true).kind !== "order") return false;
    const before = this.#facts?.serial;
    try {
      return await this.#orderAlone({
        impatient: true,
        force: () => force && this.#facts?.serial === before,
      });
    } catch (error) {
      await this.#remember(error);
      throw error;
    }
  }

  async #order(): Promise<void> {
    // Whoever asks again while this try runs is heard after it.
    const impatient = this.#impatient;
    this.#impatient = false;
    try {
      const ordered = await this.#orderAlone({ impatient, force: () => false });
      if (ordered && this.#nextStep(true).kind === "order") throw dueAtOnce(this.#facts);
    } catch (error) {
      if (!this.#closing.signal.aborted) await this.#failed(error);
    }
  }

  /**
   * @param options.impatient whether to mind no wait after a failure
   * @param options.force whether to order although nothing is due, asked when no other process can be ordering
   * @returns false if it was not needed any more
   */
  async #orderAlone({ impatient, force }: { impatient: boolean; force: () => boolean }): Promise<boolean> {
    const { store, authority, log } = this.#parts;
    this.#ordering = true;
    try {
      await store.prove();
      await using lock = await store.lock(this.domain, this.#closing.signal);
      // Another process may have done it while this one waited.
      await this.#look();
      if (!force() && this.#nextStep(impatient).kind !== "order") return false;
      log.info(this.#facts === undefined ? "Ordering a certificate" : "Renewing the certificate", {
        domain: this.domain,
        directory: authority.directoryUrl,
      });
      const sameAuthority = this.#state.directoryUrl === authority.directoryUrl;
      const replaces = sameAuthority ? this.#facts?.ariId : undefined;
      await authority.issue([this.domain], {
        ...(replaces !== undefined && { replaces }),
        signal: AbortSignal.any([this.#closing.signal, lock.lost]),
      });
      await this.#look();
      await this.#save({ ...this.#state, directoryUrl: authority.directoryUrl });
      log.info("The certificate is there", {
        domain: this.domain,
        issuer: this.#facts?.issuer ?? "",
        validUntil: new Date(this.#facts?.notAfter ?? 0).toISOString(),
      });
      return true;
    } finally {
      this.#ordering = false;
    }
  }

  async #failed(error: unknown): Promise<void> {
    const tryAt = await this.#remember(error);
    this.#tell(messageOf(error), error, { nextTry: new Date(tryAt).toISOString() });
  }

  /** @returns the moment of the next try */
  async #remember(error: unknown): Promise<number> {
    const { clock, random } = this.#parts;
    const { retryAtMs, permanent = false } = error instanceof AcmeError ? error : {};
    const state = stateAfterFailure(this.#facts, this.#state, {
      nowMs: clock.wall(),
      random: random(),
      retryAtMs,
      permanent,
      lastError: { message: messageOf(error), ...actionOf(error) },
    });
    await this.#save(state);
    return state.nextTryAt;
  }

  #tell(message: string, error: unknown, more: Record<string, string> = {}): void {
    const { action } = actionOf(error);
    this.#parts.log.error(message, {
      domain: this.domain,
      ...more,
      ...(action !== undefined && { action }),
    });
  }
}

function actionOf(error: unknown): { action?: string } {
  return error instanceof Problem && error.action !== undefined ? { action: error.action } : {};
}
