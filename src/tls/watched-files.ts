import type { Clock, Timer } from "../base/clock.ts";
import { messageOf, Problem } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { checkPair, type CertificateFacts, type KeyPair } from "./certificate.ts";
import { expiryWarning, type ExpiryWarning } from "./expiry.ts";
import { readPairFiles, signatureOf, type PairPaths } from "./pair-files.ts";

export interface WatchedFilesOptions extends PairPaths {
  clock: Clock;
  log: Log;
  /** Serves the new pair. While this fails the pair counts as refused, and is tried again. */
  onChange(pair: KeyPair, facts: CertificateFacts): void | Promise<void>;
}

/** A certificate that another program renews in its files. */
export interface WatchedFiles {
  /** The newest pair that was found right. */
  readonly pair: KeyPair;
  readonly facts: CertificateFacts;
  /** Why what lies in the files now is not served; `at` is the wall clock's milliseconds. */
  readonly lastError: { at: number; message: string; action?: string } | undefined;
  /** Looks at once, without patience for files that are being written. @returns what is wrong, if anything */
  reload(): Promise<Problem | undefined>;
  /** Ends the looking. */
  close(): void;
}

/**
 * How often the files are looked at. Events of the file system would not do: certbot's `live/` holds
 * links into another folder, Kubernetes swaps a link above the files, and NFS has no events. One look is
 * two `stat`, 60 µs on Linux.
 */
const LOOK_MS = 2_000;

/** Two files cannot be replaced at once: until then a pair that is wrong may be a pair half written. */
const PATIENCE_MS = 10_000;

/**
 * Reads a certificate and its key, and looks after them: a pair that changes is handed to `onChange`
 * within seconds. A pair that is wrong is refused, and the one before goes on.
 *
 * @throws {Problem} if the pair cannot be used now, with the reason
 */
export async function watchFiles(options: WatchedFilesOptions): Promise<WatchedFiles> {
  const signature = await signatureOf(options);
  const pair = await readPairFiles(options);
  return new PairWatch(options, pair, checkFiles(options, pair), signature);
}

/** @throws {Problem} that names the files too */
function checkFiles({ certFile, keyFile, clock }: WatchedFilesOptions, pair: KeyPair): CertificateFacts {
  try {
    return checkPair(pair, clock.wall());
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    throw new Problem(`${error.message} (certificate "${certFile}", key "${keyFile}")`, {
      ...(error.action !== undefined && { action: error.action }),
      cause: error,
    });
  }
}

/** What is wrong, and since when. */
interface Failure {
  since: number;
  problem: Problem;
}

class PairWatch implements WatchedFiles {
  pair: KeyPair;
  facts: CertificateFacts;
  lastError: WatchedFiles["lastError"];
  readonly #options: WatchedFilesOptions;
  /** Of the files when they were read last. */
  #signature: string;
  #failure: Failure | undefined;
  #warned: ExpiryWarning | undefined;
  #timer: Timer | undefined;
  #closed = false;
  /** Looks come one after the other. */
  #looking: Promise<unknown> = Promise.resolve();

  constructor(options: WatchedFilesOptions, pair: KeyPair, facts: CertificateFacts, signature: string) {
    this.#options = options;
    this.pair = pair;
    this.facts = facts;
    this.#signature = signature;
    this.#warnOfExpiry();
    this.#waitForNext();
  }

  reload(): Promise<Problem | undefined> {
    return this.#after(async () => {
      await this.#look(true);
      if (this.#failure === undefined && !this.#closed)
        this.#options.log.info("The certificate's files were read again", {
          certificate: this.#options.certFile,
        });
      return this.#failure?.problem;
    });
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #after<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#looking.then(work);
    this.#looking = done;
    return done;
  }

  #waitForNext(): void {
    if (this.#closed) return;
    this.#timer = this.#options.clock.after(LOOK_MS, () => {
      void this.#after(() => this.#look(false)).then(() => this.#waitForNext());
    });
  }

  /** Never throws. */
  async #look(atOnce: boolean): Promise<void> {
    if (this.#closed) return;
    try {
      const signature = await signatureOf(this.#options);
      // Files that were refused are read again: a wrong moment can pass without a change to them.
      if (atOnce || this.#failure !== undefined || signature !== this.#signature) await this.#read(signature);
    } catch (error) {
      this.#fail(error, atOnce);
    }
    this.#warnOfExpiry();
  }

  async #read(signature: string): Promise<void> {
    const pair = await readPairFiles(this.#options);
    const isNew = pair.chainPem !== this.pair.chainPem || pair.keyPem !== this.pair.keyPem;
    if (isNew) {
      const facts = checkFiles(this.#options, pair);
      if (this.#closed) return;
      await this.#options.onChange(pair, facts);
      this.pair = pair;
      this.facts = facts;
      this.#warned = undefined;
      const until = new Date(facts.notAfter).toISOString();
      this.#options.log.info("A new certificate is served", { names: facts.names.join(","), until });
    }
    this.#signature = signature;
    if (this.lastError !== undefined && !isNew)
      this.#options.log.info("The certificate's files hold the pair again that is served");
    this.#failure = undefined;
    this.lastError = undefined;
  }

  #fail(error: unknown, atOnce: boolean): void {
    const { clock, log, certFile } = this.#options;
    if (this.#closed) return;
    const problem =
      error instanceof Problem
        ? error
        : new Problem(`Cannot serve the certificate "${certFile}": ${messageOf(error)}`, { cause: error });
    this.#failure = { since: this.#failure?.since ?? clock.now(), problem };
    if (!atOnce && clock.now() - this.#failure.since < PATIENCE_MS) return;
    const { message, action } = problem;
    if (!atOnce && this.lastError?.message === message) return;
    this.lastError = { at: clock.wall(), message, ...(action !== undefined && { action }) };
    log.error(`${message}; the certificate from before is still served`, { action });
  }

  #warnOfExpiry(): void {
    if (this.#closed) return;
    const warning = expiryWarning(this.facts, this.#options.clock.wall());
    if (warning === undefined || warning.level <= (this.#warned?.level ?? 0)) return;
    this.#warned = warning;
    this.#options.log[warning.level === 3 ? "error" : "warn"](warning.message, {
      certificate: this.#options.certFile,
      action: "Let what renews it run, such as: certbot renew",
    });
  }
}
