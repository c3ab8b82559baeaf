import { systemClock, type Clock } from "../../../src/base/clock.ts";
import { silentLog } from "../../../src/base/log.ts";
import { startRelay, type PlainRelay } from "../../../src/server/index.ts";
import type { OwnLimits } from "../../../src/server/limits/request-limits.ts";
import type { LinkVersion, RawWorker } from "../../support/raw-worker.ts";
import { connectRawWorker, relayConfig, SECRET, type RelaySettings } from "../../support/relays.ts";

export const CHAT = "/v1/chat/completions";
export const HI = { model: "m", messages: [{ role: "user", content: "hi" }] };

export interface Limited extends AsyncDisposable {
  relay: PlainRelay;
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
  /** A worker that offers "m", registered; v1 unless given. */
  worker(more?: Record<string, unknown>, link?: LinkVersion): Promise<RawWorker>;
  /** Takes all workers away. */
  cutWorkers(): void;
}

/** A relay with limits of its own, to which anybody may come. */
export function startLimited(
  limits: Partial<OwnLimits>,
  settings: RelaySettings & { trustedProxy?: string[] } = {},
  clock: Clock = systemClock,
): Limited {
  const config = { ...relayConfig(settings), limits: { anonymous: {}, relay: {}, ...limits } };
  const relay = startRelay(config, { clock, log: silentLog });
  const workers: RawWorker[] = [];
  return {
    relay,
    post: (path, body, init = {}) =>
      fetch(relay.url + path, {
        method: "POST",
        keepalive: false,
        body: typeof body === "string" ? body : JSON.stringify(body),
        ...init,
      }),
    cutWorkers() {
      for (const worker of workers.splice(0)) worker.cut();
    },
    async worker(more = {}, link = "v1") {
      const worker = await connectRawWorker(relay.url, "", SECRET, link);
      workers.push(worker);
      await worker.register(["m"], more);
      return worker;
    },
    [Symbol.asyncDispose]: () => relay.stop(),
  };
}
