import type { Clock, Timer } from "../base/clock.ts";
import { formatDuration } from "../base/duration.ts";
import { describeNetworkError } from "../base/network-error.ts";
import { responseHeadersForLink } from "../protocol/headers.ts";
import type { HeaderFields, ResponseHead } from "../protocol/messages.ts";
import { BackendError } from "./backend-error.ts";
import { contentDecoder, type ContentDecoder } from "./http/content-decoder.ts";
import type { AnswerEvents, HttpCall } from "./http/http-client.ts";

/** What comes of a request. `end` or `failed` is the last call; neither follows a `cancel`. */
export interface BackendEvents {
  /** Fields without what belongs to one connection; the body is never compressed. */
  head(head: ResponseHead): void;
  body(bytes: Uint8Array<ArrayBuffer>): void;
  end(): void;
  failed(error: BackendError): void;
}

/** A request under way at the backend. */
export interface BackendCall {
  /** Nothing more is read, and the backend is stopped by that, until `resume`. */
  pause(): void;
  resume(): void;
  /** Nobody wants the rest: closes the connection. */
  cancel(): void;
}

/** How long a backend may be silent, in ms; 0 is no limit. */
export interface SilenceLimits {
  clock: Clock;
  firstByteTimeoutMs: number;
  idleTimeoutMs: number;
}

/**
 * One request at the backend: makes of HTTP's answer what the relay is to get, and gives up a backend
 * that is silent for too long. Only while it is listened to time counts: a slow relay is not its fault.
 */
export class BackendExchange implements BackendCall, AnswerEvents {
  readonly #limits: SilenceLimits;
  readonly #base: string;
  readonly #events: BackendEvents;
  readonly #call: HttpCall;
  #decoder: ContentDecoder | undefined;
  #timer: Timer | undefined;
  /** Of the answer's body: nothing has come, something has, nothing counts any more. */
  #stage: "waiting" | "begun" | "over" = "waiting";
  #heardAt: number;
  /** The listener takes no more. */
  #paused = false;
  /** The decoder takes no more. */
  #full = false;

  constructor(
    limits: SilenceLimits,
    base: string,
    events: BackendEvents,
    begin: (answer: AnswerEvents) => HttpCall,
  ) {
    this.#limits = limits;
    this.#base = base;
    this.#events = events;
    this.#heardAt = limits.clock.now();
    this.#call = begin(this);
    this.#watch();
  }

  pause(): void {
    this.#paused = true;
    this.#decoder?.pause();
    this.#call.pause();
  }

  resume(): void {
    if (!this.#paused || this.#stage === "over") return;
    this.#paused = false;
    this.#heardAt = this.#limits.clock.now();
    this.#watch();
    this.#decoder?.resume();
    if (!this.#full) this.#call.resume();
  }

  cancel(): void {
    this.#finish();
    this.#call.cancel();
  }

  head(status: number, fields: HeaderFields): void {
    if (status < 200 || status > 599) {
      return this.#fail(
        new BackendError(
          `The backend answered with status ${status}, which HTTP does not know`,
          502,
          "backend_unreachable",
        ),
      );
    }
    const { location } = fields;
    if (location !== undefined) fields["location"] = publicLocation(location, this.#base);
    const coding = fields["content-encoding"];
    if (coding !== undefined && coding !== "identity") this.#decode(coding, fields);
    this.#events.head({ status, headers: responseHeadersForLink(fields) });
  }

  body(bytes: Uint8Array<ArrayBuffer>): void {
    this.#heardAt = this.#limits.clock.now();
    if (this.#stage === "waiting") this.#begin();
    if (this.#decoder === undefined) this.#events.body(bytes);
    else this.#decoder.push(bytes);
  }

  end(): void {
    if (this.#decoder !== undefined && this.#stage === "begun") return this.#decoder.end();
    this.#finish();
    this.#events.end();
  }

  failed(error: unknown): void {
    const what =
      this.#stage === "begun" ? "The backend broke off its answer" : "The worker cannot reach its backend";
    this.#fail(
      new BackendError(`${what}: ${describeNetworkError(error)}`, 502, "backend_unreachable", {
        cause: error,
        down: true,
      }),
    );
  }

  /** The body is decompressed here, so that its fields must no longer say that it is compressed. */
  #decode(coding: string, fields: HeaderFields): void {
    const call = this.#call;
    this.#decoder = contentDecoder(coding, {
      body: (bytes) => this.#events.body(bytes),
      end: () => {
        this.#finish();
        this.#events.end();
      },
      failed: (error) => this.failed(error),
      full: () => {
        this.#full = true;
        call.pause();
      },
      free: () => {
        this.#full = false;
        if (!this.#paused) call.resume();
      },
    });
    if (this.#decoder === undefined) return;
    delete fields["content-encoding"];
    delete fields["content-length"];
  }

  #fail(error: BackendError): void {
    if (this.#stage === "over") return;
    this.cancel();
    this.#events.failed(error);
  }

  #finish(): void {
    this.#stage = "over";
    this.#timer?.cancel();
    this.#decoder?.stop();
  }

  #begin(): void {
    this.#stage = "begun";
    const { firstByteTimeoutMs, idleTimeoutMs } = this.#limits;
    // Else the timer that is set fires early enough, and sets itself again.
    if (idleTimeoutMs > 0 && (firstByteTimeoutMs === 0 || idleTimeoutMs < firstByteTimeoutMs)) this.#watch();
  }

  get #limitMs(): number {
    return this.#stage === "begun" ? this.#limits.idleTimeoutMs : this.#limits.firstByteTimeoutMs;
  }

  /** One timer a request, set again only when it fires: nothing is done per token. */
  #watch(): void {
    this.#timer?.cancel();
    const limit = this.#limitMs;
    if (limit === 0) return;
    const { clock } = this.#limits;
    this.#timer = clock.after(Math.max(this.#heardAt + limit - clock.now(), 1), () => this.#look());
  }

  #look(): void {
    if (this.#paused || this.#stage === "over") return;
    const limit = this.#limitMs;
    if (limit === 0 || this.#limits.clock.now() - this.#heardAt < limit) return this.#watch();
    const [what, code] =
      this.#stage === "begun" ? ["nothing more", "idle_timeout"] : ["nothing", "first_byte_timeout"];
    this.#fail(new BackendError(`The backend sent ${what} for ${formatDuration(limit)}`, 504, code));
  }
}

/** A redirect within the backend as the client can follow it: it neither knows nor may know the backend's address. */
function publicLocation(location: string, base: string): string {
  const prefix = new URL(base);
  const target = URL.parse(location, base);
  if (target === null || target.origin !== prefix.origin) return location;
  const path = prefix.pathname.replace(/\/+$/, "");
  const inner = target.pathname.startsWith(`${path}/`) ? target.pathname.slice(path.length) : target.pathname;
  return inner + target.search + target.hash;
}
