import { systemClock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { DatabaseService } from "./database-service.ts";
import { StoreError } from "./store-error.ts";
import type { CallRequest, FailedReply, FromThread, ToThread } from "./store-messages.ts";

// The thread in which all work with the database happens, so that no disk can stop the relay's own. It is an
// entry point of its own: a build has to name it (scripts/build.ts).

declare const self: Worker;

let service: DatabaseService | undefined;

self.addEventListener("message", ({ data }: MessageEvent<ToThread>) => {
  if ("settings" in data) service = new DatabaseService(data.settings, systemClock);
  else void answer(data.call);
});

async function answer({ id, ...call }: CallRequest): Promise<void> {
  let reply: FromThread;
  try {
    if (service === undefined) throw new Error("Cannot use a database before its settings are known");
    reply = { id, value: await service.call(call) };
  } catch (thrown) {
    reply = { id, error: failed(thrown) };
  }
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
  self.postMessage(reply);
}

function failed(thrown: unknown): FailedReply {
  if (!(thrown instanceof StoreError))
    return { code: "store_failed", message: messageOf(thrown), action: undefined };
  return { code: thrown.code, message: thrown.message, action: thrown.action };
}
