import type { Clock, Timer } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { CLOSE } from "../protocol/limits.ts";
import type { CancelReason, Registration } from "../protocol/messages.ts";
import { ByteBudget } from "./byte-budget.ts";
import { failureError, keyRevoked, refusalError } from "./client-error.ts";
import type { ReloadableConfig, RelayConfig } from "./config.ts";
import { RelayCore } from "./core/relay-core.ts";
import type { CoreEffect, CoreEvent } from "./core/types.ts";
import type { Exchange, ExchangeContext } from "./exchange.ts";
import { refusalFor } from "./model-access.ts";
import { acceptConcurrency, acceptModels, acceptName } from "./registration.ts";
import { UsageRefusals } from "./usage/usage-refusals.ts";
import type { SessionEvents, WorkerSession } from "./worker-session.ts";

export interface RelayDependencies {
  clock: Clock;
  log: Log;
  random: () => number;
}

/** Requests of nobody in particular take turns as one sender. */
const UNNAMED = { id: "", priority: "normal" } as const;

/** Events after which something may be due earlier than before. */
const MAKES_DEADLINES: ReadonlySet<CoreEvent["type"]> = new Set([
  "request_arrived",
  "response_ended",
  "worker_lost",
  "tick",
]);

/**
 * Carries out what the core decides: holds the exchanges with clients and the sessions with workers,
 * tells the core what happens to them, and does what it answers.
 */
export class Relay {
  readonly core: RelayCore;
  readonly budget: ByteBudget;
  readonly startedAt: number;
  /** What an exchange needs that arrives now. */
  exchangeContext: ExchangeContext;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #sessions = new Map<string, WorkerSession>();
  readonly #exchanges = new Map<string, Exchange>();
  /** Keys that were revoked together with what ran for them; an id never comes back. */
  readonly #endedKeys = new Set<string>();
  readonly #usageRefusals: UsageRefusals;
  #config: RelayConfig;
  #timer: { at: number; timer: Timer } | undefined;
  #idle: (() => void) | undefined;

  constructor(config: RelayConfig, { clock, log, random }: RelayDependencies) {
    this.#config = config;
    this.#clock = clock;
    this.#log = log;
    this.#usageRefusals = new UsageRefusals(clock);
    this.budget = new ByteBudget(config.maxInflightBytes);
    this.startedAt = clock.now();
    this.core = new RelayCore(coreSettings(config), random);
    this.exchangeContext = this.#newExchangeContext();
  }

  get config(): Readonly<RelayConfig> {
    return this.#config;
  }

  /** Takes settings that are safe to change while requests run. */
  reload(changed: Partial<ReloadableConfig>): void {
    this.#config = { ...this.#config, ...changed };
    this.exchangeContext = this.#newExchangeContext();
    this.core.configure(coreSettings(this.#config));
    this.tell({ type: "tick" });
  }

  #newExchangeContext(): ExchangeContext {
    return {
      clock: this.#clock,
      budget: this.budget,
      keepaliveMs: this.#config.sseKeepaliveMs,
      maxHeld: this.#config.maxResponseBuffer,
      gone: (exchange, reason) => {
        exchange.record.settle("cancelled", reasonCode(reason));
        this.tell({ type: "client_gone", requestId: exchange.request.id, reason });
        this.#forget(exchange);
      },
      overBudget: () => this.#shedLargest(),
    };
  }

  /** Takes a client's request; its answer comes through the exchange. */
  submit(exchange: Exchange, model: string | undefined, needs: number): void {
    this.#exchanges.set(exchange.request.id, exchange);
    if (this.#endedKeys.has(exchange.record.client?.key?.id ?? "")) {
      exchange.fail(keyRevoked());
      return this.#forget(exchange);
    }
    const { id: sender, priority } = exchange.record.client ?? UNNAMED;
    const { id } = exchange.request;
    this.tell({ type: "request_arrived", request: { id, model, needs, sender, priority } });
  }

  /** What a worker's session tells. */
  readonly sessionEvents: SessionEvents = {
    registered: (session, registration) => this.#register(session, registration),
    models: (session, offered, load) => {
      const { models, warnings } = acceptModels(offered, session.secret?.models);
      for (const warning of warnings)
        this.#log.warn("A worker's model list was changed", { ...session.describe(), warning });
      const known = this.core.registry.get(session.id)?.models;
      if (known !== undefined && (known.size !== models.length || models.some((model) => !known.has(model))))
        this.#log.info("A worker changed its models", { ...session.describe(), models: models.length });
      this.tell({ type: "worker_models", workerId: session.id, models, load });
    },
    load: (session, load) => this.tell({ type: "worker_load", workerId: session.id, load }),
    head: (requestId, head) => {
      const exchange = this.#exchanges.get(requestId);
      exchange?.head(head);
      if (exchange?.usage.wasRefused === true && head.status < 400)
        this.#usageRefusals.add(exchange.record.worker ?? "", exchange.request.model);
    },
    body: (requestId, bytes) => {
      const exchange = this.#exchanges.get(requestId);
      if (exchange === undefined) return;
      if (!exchange.begun && !exchange.usage.refused) this.tell({ type: "response_started", requestId });
      exchange.body(bytes);
    },
    end: (requestId) => {
      const exchange = this.#exchanges.get(requestId);
      if (exchange === undefined) return;
      if (exchange.usage.refused) return this.#dispatch(exchange, this.core.holderOf(requestId) ?? "");
      exchange.end();
      this.#finish(exchange, (exchange.backendStatus ?? 200) < 500);
    },
    broken: (requestId, failure) => {
      const exchange = this.#exchanges.get(requestId);
      if (exchange === undefined) return;
      exchange.fail(failureError(failure));
      this.#log.warn("A request failed at its worker", {
        ...this.#label(exchange),
        code: failure.code,
        reason: failure.message,
      });
      // What this link cannot carry says nothing about the worker: another request may be served well.
      this.#finish(exchange, failure.code.startsWith("worker_link_"));
    },
    suspended: (session) => {
      this.#log.warn("A worker's connection is lost; its requests wait for it to come back", {
        ...session.describe(),
        seconds: this.#config.linkGraceMs / 1_000,
        requests: this.core.registry.get(session.id)?.held.size ?? 0,
      });
      this.tell({ type: "worker_suspended", workerId: session.id });
    },
    resumed: (session) => {
      this.#log.info("A worker is back, and its requests go on", session.describe());
      this.tell({ type: "worker_resumed", workerId: session.id });
    },
    lost: (session) => {
      this.#sessions.delete(session.id);
      this.#log.info("A worker left", session.describe());
      this.tell({ type: "worker_lost", workerId: session.id });
    },
  };

  /**
   * Ends what runs or waits for a key, with an error in the middle of the answer where one has begun; what
   * is still being read for it ends as soon as it is here.
   */
  endRequestsOf(keyId: string): void {
    this.#endedKeys.add(keyId);
    for (const exchange of this.#exchanges.values()) {
      if (exchange.record.client?.key?.id !== keyId) continue;
      exchange.fail(keyRevoked());
      this.tell({ type: "client_gone", requestId: exchange.request.id, reason: { other: "key_revoked" } });
      this.#forget(exchange);
    }
  }

  /** Connected workers, by id. */
  get sessions(): ReadonlyMap<string, WorkerSession> {
    return this.#sessions;
  }

  /**
   * Takes no new work, tells the workers, and resolves when the last running request has ended or the
   * time is over; what still runs then is cut.
   */
  async drain(timeoutMs: number): Promise<void> {
    this.tell({ type: "relay_draining" });
    for (const session of this.#sessions.values()) {
      session.codec.drain("server_shutdown", timeoutMs);
      this.tell({ type: "worker_draining", workerId: session.id });
    }
    if (this.#exchanges.size > 0) {
      const ended = Promise.withResolvers<void>();
      this.#idle = ended.resolve;
      const limit = this.#clock.after(timeoutMs, ended.resolve);
      await ended.promise;
      limit.cancel();
    }
    for (const exchange of this.#exchanges.values()) {
      exchange.fail(refusalError({ code: "draining" }, undefined));
      this.tell({ type: "client_gone", requestId: exchange.request.id, reason: "server_shutdown" });
      this.#forget(exchange);
    }
    for (const session of this.#sessions.values()) session.close(CLOSE.restart, "The relay is shutting down");
    this.#timer?.timer.cancel();
  }

  #register(session: WorkerSession, registration: Registration): void {
    const { models, warnings } = acceptModels(registration.models, session.secret?.models);
    const maxConcurrent = acceptConcurrency(registration.maxConcurrent, warnings);
    const name = acceptName(registration.name, session.id);
    if (session.provider !== this.#config.provider) {
      warnings.push(
        `this relay serves provider "${this.#config.provider}": a worker of provider "${session.provider}" gets no requests`,
      );
    }
    session.name = name;
    this.#sessions.set(session.id, session);
    session.codec.accept({ workerId: session.id, models, warnings, features: registration.features });
    this.#log.info("A worker joined", {
      ...session.describe(),
      models: models.length,
      capacity: maxConcurrent,
    });
    for (const warning of warnings)
      this.#log.warn("A worker's registration was changed", { worker: name, warning });
    const carries = session.codec.carries();
    this.tell({
      type: "worker_joined",
      worker: {
        id: session.id,
        name,
        provider: session.provider,
        models,
        maxConcurrent,
        load: registration.load,
        carries,
      },
    });
  }

  #dispatch(exchange: Exchange, workerId: string): void {
    const session = this.#sessions.get(workerId);
    if (session === undefined) return;
    const { codec, name = session.id } = session;
    const { request, usage } = exchange;
    if (usage.asks && (usage.refused || this.#usageRefusals.has(name, request.model)))
      usage.withdraw(request, this.budget);
    exchange.dispatched(name, codec);
    codec.request(request);
  }

  #finish(exchange: Exchange, ok: boolean): void {
    this.#forget(exchange);
    this.tell({ type: "response_ended", requestId: exchange.request.id, ok });
  }

  #forget(exchange: Exchange): void {
    if (!this.#exchanges.delete(exchange.request.id)) return;
    this.budget.give(exchange.request.body.length);
    exchange.record.answer = exchange;
    exchange.record.end();
    if (this.#exchanges.size === 0) this.#idle?.();
  }

  /** Tells the core, and does what it answers. */
  tell(event: CoreEvent): void {
    const now = this.#clock.now();
    for (const effect of this.core.handle(event, now)) this.#carryOut(effect);
    if (MAKES_DEADLINES.has(event.type)) this.#armTimer(now);
  }

  #carryOut(effect: CoreEffect): void {
    const exchange = this.#exchanges.get(effect.requestId);
    switch (effect.type) {
      case "dispatch":
        if (exchange === undefined) return;
        return this.#dispatch(exchange, effect.workerId);
      case "cancel":
        this.#sessions.get(effect.workerId)?.codec.cancel(effect.requestId, effect.reason);
        return;
      case "refuse":
        if (exchange === undefined) return;
        exchange.fail(
          refusalError(
            refusalFor(effect.refusal, exchange.record.client),
            exchange.request.model || undefined,
          ),
        );
        return this.#forget(exchange);
    }
  }

  /** One timer for everything the core waits for; set anew only when something is due earlier. */
  #armTimer(now: number): void {
    const deadline = this.core.nextDeadline(now);
    if (deadline === undefined || (this.#timer !== undefined && this.#timer.at <= deadline)) return;
    this.#timer?.timer.cancel();
    this.#timer = { at: deadline, timer: this.#clock.after(Math.max(0, deadline - now), this.#tick) };
  }

  readonly #tick = (): void => {
    this.#timer = undefined;
    this.tell({ type: "tick" });
  };

  /** Lets go of the client for whom most is held, so that the others can go on. */
  #shedLargest(): void {
    let largest: Exchange | undefined;
    for (const exchange of this.#exchanges.values()) {
      if (exchange.heldBytes > (largest?.heldBytes ?? 0)) largest = exchange;
    }
    if (largest === undefined) return;
    this.#log.warn(
      "A client that does not read was let go: the memory for undelivered answers is used up",
      this.#label(largest),
    );
    largest.record.settle("cancelled", "relay_memory");
    largest.abandon();
    this.tell({ type: "client_gone", requestId: largest.request.id, reason: { other: "relay_memory" } });
    this.#forget(largest);
  }

  #label(exchange: Exchange): { request: string; path: string; model: string } {
    return {
      request: exchange.record.clientId,
      path: exchange.record.path,
      model: exchange.request.model,
    };
  }
}

function reasonCode(reason: CancelReason): string {
  return typeof reason === "string" ? reason : reason.other;
}

function coreSettings(config: RelayConfig) {
  return {
    provider: config.provider,
    maxQueueLength: config.maxQueueLen,
    queueTimeoutMs: config.queueTimeoutMs,
    requestTimeoutMs: config.requestTimeoutMs,
  };
}
