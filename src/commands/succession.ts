import type { Heritage } from "../server/heritage.ts";
import {
  kindOf,
  SUCCESSOR_ENV,
  type FromSuccessor,
  type HeritageMessage,
  type ToSuccessor,
} from "./handover-messages.ts";

/** The place that this process is to take. */
export interface Succession {
  heritage: Heritage;
  generation: number;
  /** Resolves when the process before this one has ended. */
  ended: Promise<void>;
  /** Everything new comes here: the process before this one can begin to finish. */
  ready(): void;
}

/** @returns `undefined` for a process that takes nobody's place */
export async function findSuccession(
  env: Readonly<Record<string, string | undefined>>,
): Promise<Succession | undefined> {
  if (env[SUCCESSOR_ENV] === undefined) return undefined;
  // What this process starts takes nobody's place either, unless it is told so.
  delete process.env[SUCCESSOR_ENV];
  if (process.send === undefined) return undefined;
  // From a process of another version, which may know less than this one.
  const given = Promise.withResolvers<Partial<HeritageMessage> | undefined>();
  const released = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  process.on("message", (message: ToSuccessor) => {
    const kind = kindOf(message);
    if (kind === "heritage") given.resolve(message as HeritageMessage);
    else if (kind === "released") released.resolve();
  });
  process.on("disconnect", () => {
    given.resolve(undefined);
    released.resolve();
    ended.resolve();
  });
  say({ kind: "hello" });
  const heritage = await given.promise;
  if (heritage === undefined) return undefined;
  const { ports = {}, models = [], generation = 1 } = heritage;
  return {
    heritage: { ports, models, released: released.promise },
    generation,
    ended: ended.promise,
    ready: () => say({ kind: "ready" }),
  };
}

/** The other end may have gone meanwhile, which `disconnect` tells. */
function say(message: FromSuccessor): void {
  if (process.connected) process.send?.(message);
}
