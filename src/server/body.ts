import type { Clock, Timer } from "../base/clock.ts";
import { formatBytes } from "../base/bytes.ts";
import { Timeouts } from "../base/timeouts.ts";
import type { ByteBudget } from "./byte-budget.ts";
import { relayError, type ClientError } from "./client-error.ts";

/** Time in which a body must begin to show progress, and the least average rate after it. */
const BODY_GRACE_MS = 120_000;
const BODY_CHECK_MS = 30_000;
const MIN_BYTES_PER_SECOND = 1_024;

export type BodyResult = { ok: true; bytes: Uint8Array<ArrayBuffer> } | { ok: false; error: ClientError };

const EMPTY = new Uint8Array(0);

/** Time for which the rest of a refused body is read. */
const LINGER_MS = 10_000;

/** Bodies that are announced as no longer than this are collected by the runtime. */
const AT_ONCE = 64 * 1024;

/** Parts below this are copied together: each costs some hundred bytes beside its own, even one of one byte. */
const SMALL_PART = 4 * 1024;
const JOINED_PART = 16 * 1024;

/** Reads the bodies of requests whole, each within a limit of its own and the budget of all together. */
export class BodyReader {
  readonly #budget: ByteBudget;
  readonly #clock: Clock;
  /** For small bodies. */
  readonly #limits: Timeouts;

  constructor(budget: ByteBudget, clock: Clock) {
    this.#budget = budget;
    this.#clock = clock;
    this.#limits = new Timeouts(clock, BODY_GRACE_MS);
  }

  /**
   * @param contentLength as the request has it
   * @param tell called once, and not within this call. On success the body's bytes are taken from the
   *   budget and it gives them back; on failure nothing is taken
   */
  read(
    request: Request,
    contentLength: string | undefined,
    limit: number,
    tell: (result: BodyResult) => void,
  ): void {
    const declared = declaredLength(contentLength);
    // Looked at before the body itself, which would be made a stream by that.
    if (declared !== undefined && declared <= Math.min(AT_ONCE, limit))
      return this.#readAtOnce(request, declared, tell);
    const { body } = request;
    if (body === null) return queueMicrotask(() => tell({ ok: true, bytes: EMPTY }));
    if (declared !== undefined && declared > limit) {
      discard(body.getReader(), this.#clock);
      return queueMicrotask(() => tell(refused(tooLarge(limit))));
    }
    // Nothing is taken from the budget yet: what is announced and does not come must keep nobody out.
    void new PartReader(body, limit, this.#budget, this.#clock).read().then(tell);
  }

  /**
   * A small body is collected by the runtime, which takes half the time of reading it part by part. What
   * comes slowly costs no more than its announced length meanwhile.
   */
  #readAtOnce(request: Request, declared: number, tell: (result: BodyResult) => void): void {
    let late = false;
    const timer = this.#limits.add(() => {
      late = true;
      tell(refused(tooSlow()));
    });
    const came = (buffer: ArrayBuffer | undefined): void => {
      timer.cancel();
      if (!late) tell(this.#take(buffer, declared));
    };
    void request.arrayBuffer().then(came, () => came(undefined));
  }

  /** From now on no timer is left once nothing is read. */
  close(): void {
    this.#limits.close();
  }

  /** @param buffer `undefined` if the body broke off */
  #take(buffer: ArrayBuffer | undefined, declared: number): BodyResult {
    // A body that breaks off need not reject.
    if (buffer?.byteLength !== declared) return refused(brokenOff());
    if (!this.#budget.take(declared)) return refused(overloaded(this.#budget));
    return { ok: true, bytes: new Uint8Array(buffer) };
  }
}

/**
 * Reads on for a while after a refusal and throws away what comes: a client, or a proxy, that is still
 * writing when the connection is closed never sees the answer (RFC 9112 §9.6).
 */
function discard(reader: ByteReader, clock: Clock): void {
  const timer = clock.after(LINGER_MS, () => void reader.cancel().catch(() => {}));
  const readOn = async (): Promise<void> => {
    try {
      while (!(await reader.read()).done);
    } catch {
      // The client has left, or its time is over.
    } finally {
      timer.cancel();
    }
  };
  void readOn();
}

/** The part of a stream's reader that is used; the platform's type libraries disagree on the rest. */
interface ByteReader {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

/** A body being read part by part. What has come is taken from the budget. */
class PartReader {
  readonly #reader: ByteReader;
  readonly #limit: number;
  readonly #budget: ByteBudget;
  readonly #clock: Clock;
  readonly #startedAt: number;
  #parts: Uint8Array[] = [];
  /** Where small parts are joined, and how much of it is filled. */
  #joined: Uint8Array | undefined;
  #filled = 0;
  #received = 0;
  #timer: Timer;
  #late = false;

  constructor(body: ReadableStream<Uint8Array>, limit: number, budget: ByteBudget, clock: Clock) {
    this.#reader = body.getReader();
    this.#limit = limit;
    this.#budget = budget;
    this.#clock = clock;
    this.#startedAt = clock.now();
    this.#timer = this.#watch(BODY_GRACE_MS);
  }

  async read(): Promise<BodyResult> {
    try {
      for (;;) {
        const { done, value } = await this.#reader.read();
        if (done || value === undefined) break;
        const problem = this.#take(value);
        if (problem !== undefined) return this.#giveUp(problem);
      }
    } catch {
      return this.#giveUp(brokenOff());
    } finally {
      this.#timer.cancel();
    }
    if (this.#late) return this.#giveUp(tooSlow());
    try {
      return { ok: true, bytes: this.#whole() };
    } catch {
      // There is not as much memory in one piece.
      return this.#giveUp(overloaded(this.#budget));
    }
  }

  #whole(): Uint8Array<ArrayBuffer> {
    this.#closeJoined();
    return this.#parts.length === 1
      ? (this.#parts[0] as Uint8Array<ArrayBuffer>)
      : Buffer.concat(this.#parts);
  }

  #take(part: Uint8Array): ClientError | undefined {
    if (this.#received + part.length > this.#limit) return tooLarge(this.#limit);
    if (!this.#budget.take(part.length)) return overloaded(this.#budget);
    // A first part is mostly the whole body, and needs no copy.
    if (part.length >= SMALL_PART || this.#received === 0) {
      this.#closeJoined();
      this.#parts.push(part);
    } else {
      this.#join(part);
    }
    this.#received += part.length;
    return undefined;
  }

  #join(part: Uint8Array): void {
    if (this.#filled + part.length > JOINED_PART) this.#closeJoined();
    this.#joined ??= new Uint8Array(JOINED_PART);
    this.#joined.set(part, this.#filled);
    this.#filled += part.length;
  }

  #closeJoined(): void {
    if (this.#joined === undefined || this.#filled === 0) return;
    this.#parts.push(this.#joined.slice(0, this.#filled));
    this.#filled = 0;
  }

  #giveUp(error: ClientError): BodyResult {
    this.#budget.give(this.#received);
    this.#parts = [];
    if (this.#late) this.#stop();
    else discard(this.#reader, this.#clock);
    return refused(error);
  }

  /** A body may be slow, as from a telephone, but not so slow that it only holds memory. */
  #watch(delayMs: number): Timer {
    return this.#clock.after(delayMs, () => {
      const seconds = (this.#clock.now() - this.#startedAt) / 1_000;
      if (this.#received >= seconds * MIN_BYTES_PER_SECOND) {
        this.#timer = this.#watch(BODY_CHECK_MS);
        return;
      }
      this.#late = true;
      this.#stop();
    });
  }

  /** The rest is not wanted; that letting go of it may fail is of no interest. */
  #stop(): void {
    void this.#reader.cancel().catch(() => {});
  }
}

function declaredLength(contentLength: string | undefined): number | undefined {
  if (contentLength === undefined || !/^\d{1,15}$/.test(contentLength)) return undefined;
  return Number(contentLength);
}

function refused(error: ClientError): BodyResult {
  return { ok: false, error };
}

function brokenOff(): ClientError {
  return relayError(400, "invalid_request", "The request's body broke off");
}

function tooSlow(): ClientError {
  return relayError(408, "body_timeout", "The request's body came too slowly");
}

function tooLarge(limit: number): ClientError {
  return relayError(
    413,
    "request_too_large",
    `The request's body is larger than ${formatBytes(limit)} (--max-body)`,
  );
}

function overloaded(budget: ByteBudget): ClientError {
  const limit = formatBytes(budget.limit);
  return relayError(
    503,
    "relay_overloaded",
    `The relay holds as many bytes as it may (${limit}, --max-inflight-bytes)`,
    5,
  );
}
