import type { Clock } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import { ByteBudget } from "../byte-budget.ts";
import type { RecordSink } from "../request-record.ts";
import { Retention } from "../retention.ts";
import { BodyRecorder } from "./body-recorder.ts";
import type { BodyStore } from "./body-store.ts";
import { BodyWriter } from "./body-writer.ts";

/** Of requests that run and of those that wait to be stored, together. */
const MAX_HELD_BYTES = 64 * 1024 * 1024;

export interface BodiesParts {
  store: BodyStore;
  /** Longest part of each body that is kept, in bytes. */
  limit: number;
  clock: Clock;
  log: Log;
  random?: () => number;
}

/** What is asked and answered, where an operator wants it to be kept. */
export interface Bodies {
  /** For one request; its record holds it until it ends. */
  begin(): BodyRecorder;
  ended: RecordSink;
  /** Requests whose bodies found no room. */
  lost(): number;
  /** What an operator has to know of it now. */
  warnings(): string[];
  /** Writes what is there; the store may be closed after it. */
  close(): Promise<void>;
}

export function keepBodies({ store, limit, clock, log, random = Math.random }: BodiesParts): Bodies {
  const budget = new ByteBudget(MAX_HELD_BYTES);
  const writer = new BodyWriter({ store, budget, clock, log, random });
  return {
    begin: () => new BodyRecorder(budget, limit),
    ended({ bodies, dispatchedAt, id, at }) {
      if (bodies === undefined) return;
      // What no worker has seen was not relayed.
      if (dispatchedAt === undefined) return bodies.drop();
      const recorded = bodies.take();
      if (recorded === undefined) writer.lose();
      else writer.add(id, at, recorded);
    },
    lost: () => writer.lost,
    warnings: () => writer.warnings(),
    close: () => writer.close(),
  };
}

export interface BodyRetentionParts {
  store: Pick<BodyStore, "removeBodies">;
  /** For how long bodies are kept, in ms. */
  keepMs: number;
  clock: Clock;
  log: Log;
}

/** Removes old bodies, whether or not new ones are kept. */
export function removeOldBodies({ store, keepMs, clock, log }: BodyRetentionParts): { stop(): void } {
  const removePage = (before: number) => store.removeBodies(before);
  return new Retention({ what: "prompts and answers", removePage, keepMs, clock, log });
}
