import type { Clock, Timer } from "../base/clock.ts";
import { messageOf, unreachable } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { FEATURES, HANDOVER, type Acceptance } from "../protocol/messages.ts";
import { V1_VERSION } from "../protocol/v1.ts";
import type { Backend } from "./backend.ts";
import type { BackendError } from "./backend-error.ts";
import { linkUrl, type ModelName, type WorkerConfig } from "./config.ts";
import {
  startConnection,
  stepConnection,
  type ConnectionEffect,
  type ConnectionEvent,
  type ConnectionState,
  type DialFailure,
} from "./connection.ts";
import { createJobs } from "./jobs.ts";
import { openSession, type Session } from "./session.ts";
import type { Slots } from "./slots.ts";

/** What happens to a link, as it happens. */
export type LinkEvent =
  | { kind: "connected" }
  | { kind: "registered"; workerId: string; models: string[] }
  | { kind: "failed"; failure: DialFailure }
  /** The connection is lost, and the session waits this long for another one. */
  | { kind: "suspended"; graceMs: number }
  | { kind: "resumed" }
  | { kind: "disconnected"; code: number; reason: string };

/** What a link asks of its worker and tells it. */
export interface LinkOwner {
  /** Shared by all links. */
  readonly slots: Slots;
  backend(): Backend | undefined;
  /** What the worker offers now. */
  models(): ReadonlyMap<string, ModelName>;
  /** Looks at the backend again. */
  refreshModels(): Promise<void>;
  backendFailed(error: BackendError): void;
  happened(link: RelayLink, event: LinkEvent): void;
  /** A request has begun or ended. */
  loadChanged(): void;
  /** Another process has the relay's address: it is to be dialled over another link. */
  moveOn(): void;
  /** This link is over, and comes back no more. Called once, and last. */
  finished(link: RelayLink, code: number): void;
}

export interface LinkParts {
  config: WorkerConfig;
  clock: Clock;
  log: Log;
  random: () => number;
}

/** Of the time that a relay grants, what is left for the last words to arrive before it cuts the link. */
function withMargin(timeoutMs: number): number {
  return timeoutMs - Math.min(1_000, timeoutMs / 5);
}

/** A worker's way to its relay: carries out what the connection decides, and runs what the relay sends. */
export class RelayLink {
  readonly #config: WorkerConfig;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #random: () => number;
  readonly #owner: LinkOwner;
  readonly #jobs;
  #state: ConnectionState;
  #session: Session | undefined;
  #workerId: string | undefined;
  #timer: Timer | undefined;
  #drainTimer: Timer | undefined;
  #drainMs: number;
  #registered: readonly string[] = [];
  /** Names that the relay left out of its acknowledgement. */
  #refused = new Set<string>();
  /** What was offered on this link: a request may have been on its way when the backend went down. */
  readonly #offered = new Map<string, ModelName>();

  constructor({ config, clock, log, random }: LinkParts, owner: LinkOwner) {
    this.#config = config;
    this.#clock = clock;
    this.#log = log;
    this.#random = random;
    this.#owner = owner;
    this.#drainMs = config.drainTimeoutMs;
    [this.#state] = startConnection();
    this.#jobs = createJobs({
      clock,
      maxConcurrency: config.maxConcurrency,
      slots: owner.slots,
      backend: () => owner.backend(),
      resolve: (model) => this.#resolve(model),
      backendFailed: (error) => owner.backendFailed(error),
      changed: () => owner.loadChanged(),
    });
  }

  get state(): ConnectionState["kind"] {
    return this.#state.kind;
  }

  /** As the relay calls this worker; `undefined` while there is no link. */
  get workerId(): string | undefined {
    return this.#workerId;
  }

  /** Dials, unless it was told to leave before. */
  begin(): void {
    if (this.#state.kind === "dialing") this.#dial();
  }

  /** Takes nothing new, finishes what runs, and ends. */
  leave(): void {
    this.#drainMs = this.#config.drainTimeoutMs;
    this.#step({ kind: "drain", purpose: "leave" });
  }

  /** Ends at once. */
  stop(): void {
    this.#step({ kind: "stop" });
  }

  /** Tells the relay what is offered and how busy the worker is, where it is to be told. */
  tell(): void {
    const serves =
      this.#state.kind === "ready" || (this.#state.kind === "draining" && this.#state.purpose === "move");
    if (serves) this.#sendModels();
  }

  #resolve(model: string): ModelName | undefined {
    if (this.#refused.has(model)) return undefined;
    // Paths such as /api/tags name no model.
    if (model === "") return { public: "", backend: "" };
    return this.#owner.models().get(model) ?? this.#offered.get(model);
  }

  #sendModels(): void {
    const models = this.#owner.models();
    for (const [name, model] of models) this.#offered.set(name, model);
    this.#session?.codec.models([...models.keys()], this.#owner.slots.load);
  }

  #step(event: ConnectionEvent): void {
    const [next, effects] = stepConnection(this.#state, event, this.#clock.now(), this.#random);
    this.#state = next;
    for (const effect of effects) this.#carryOut(effect);
  }

  #carryOut(effect: ConnectionEffect): void {
    switch (effect.kind) {
      case "dial":
        return this.#dial();
      case "wait":
        this.#timer = this.#clock.after(effect.ms, () => this.#step({ kind: "waited" }));
        return;
      case "say":
        return this.#log[effect.level](
          effect.action === undefined ? effect.message : `${effect.message} → ${effect.action}`,
        );
      case "drainJobs":
        return this.#drainJobs();
      case "moveOn":
        return this.#owner.moveOn();
      case "closeLink":
        return this.#session?.close(effect.code, effect.reason);
      case "finish":
        return this.#finish(effect.code);
      default:
        return unreachable(effect);
    }
  }

  #dial(): void {
    try {
      this.#session = this.#open();
    } catch (error) {
      // Thrown for a secret that no HTTP header can carry.
      this.#step({ kind: "failed", failure: { kind: "unreachable", detail: messageOf(error) } });
    }
  }

  #open(): Session {
    let opened: Session | undefined;
    const isCurrent = (): boolean => this.#session === opened && this.#state.kind !== "closed";
    opened = openSession(
      this.#config,
      { clock: this.#clock, random: this.#random },
      {
        registration: () => {
          this.#happened({ kind: "connected" });
          this.#registered = [...this.#owner.models().keys()];
          const { workerName: name, maxConcurrency: maxConcurrent } = this.#config;
          return {
            name,
            models: [...this.#registered],
            maxConcurrent,
            load: this.#owner.slots.load,
            protocolVersion: V1_VERSION,
            features: [...FEATURES],
          };
        },
        registered: (acceptance) => {
          if (isCurrent()) this.#accepted(acceptance);
        },
        request: (request) => {
          if (opened !== undefined) this.#jobs.take(request, opened.codec.respond(request));
        },
        cancel: (id) => this.#jobs.cancel(id),
        drain: (reason, timeoutMs) => this.#asked(reason, timeoutMs),
        refreshModels: () => void this.#tellFreshModels(isCurrent),
        load: () => this.#owner.slots.load,
        suspended: (graceMs) => {
          this.#log.warn("The connection to the relay is lost; requests go on while it is dialled again", {
            requests: this.#jobs.load,
            seconds: graceMs / 1_000,
          });
          this.#happened({ kind: "suspended", graceMs });
        },
        resumed: () => {
          this.#log.info("The connection to the relay is back", { requests: this.#jobs.load });
          this.#happened({ kind: "resumed" });
        },
        ended: (end) => {
          if (!isCurrent()) return;
          this.#drainTimer?.cancel();
          this.#workerId = undefined;
          this.#session = undefined;
          // The relay has given these requests up, or will run them elsewhere.
          this.#jobs.endAll({ kind: "cancelled" });
          this.#happened(
            end.kind === "failed" ? end : { kind: "disconnected", code: end.code, reason: end.reason },
          );
          this.#step(end);
        },
      },
    );
    return opened;
  }

  #happened(event: LinkEvent): void {
    this.#owner.happened(this, event);
  }

  #asked(reason: string | undefined, timeoutMs: number | undefined): void {
    if (this.#state.kind !== "ready") return;
    if (reason === HANDOVER) {
      this.#log.info("Another process takes the relay's place; connecting to it, and serving both meanwhile");
      return this.#step({ kind: "drain", purpose: "move" });
    }
    this.#log.info(`The relay asks this worker to leave${reason === undefined ? "" : `: ${reason}`}`);
    const { drainTimeoutMs } = this.#config;
    this.#drainMs = Math.min(withMargin(timeoutMs ?? drainTimeoutMs), drainTimeoutMs);
    this.#step({ kind: "drain", purpose: "redial" });
  }

  /** The relay has asked, so it is told even when nothing has changed. */
  async #tellFreshModels(isCurrent: () => boolean): Promise<void> {
    await this.#owner.refreshModels();
    if (isCurrent()) this.tell();
  }

  #accepted(acceptance: Acceptance): void {
    this.#workerId = acceptance.workerId;
    this.#refused = new Set(this.#registered.filter((name) => !acceptance.models.includes(name)));
    this.#offered.clear();
    for (const warning of acceptance.warnings) this.#log.warn(`The relay says: ${warning}`);
    for (const name of this.#refused) this.#log.warn(`The relay did not accept the model "${name}"`);
    this.#step({ kind: "registered" });
    this.#log.info("Connected to the relay", {
      relay: linkUrl(this.#config).host,
      models: acceptance.models.join(", "),
    });
    // Relays in the field give waiting requests to a new worker only once it says something more.
    this.#sendModels();
    this.#happened({ kind: "registered", workerId: acceptance.workerId, models: acceptance.models });
  }

  #drainJobs(): void {
    this.#drainTimer?.cancel();
    this.#session?.codec.models([], this.#owner.slots.load);
    this.#drainTimer = this.#clock.after(this.#drainMs, () => {
      this.#log.warn("Requests still ran when the time to finish was over", { requests: this.#jobs.load });
      this.#jobs.endAll({ kind: "shutdown" });
    });
    const link = this.#session;
    void this.#jobs
      .idle()
      .then(() => link?.settled())
      .then(() => this.#step({ kind: "drained" }));
  }

  #finish(code: number): void {
    this.#timer?.cancel();
    this.#drainTimer?.cancel();
    this.#jobs.endAll({ kind: "shutdown" });
    this.#owner.finished(this, code);
  }
}
