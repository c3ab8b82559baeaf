import { describe, test } from "bun:test";
import { relayKinds } from "../support/relays.ts";
import { linkPromises } from "./link-promises.ts";
import { misbehaviourPromises } from "./misbehaviour-promises.ts";
import { requestPromises } from "./request-promises.ts";

// One list of promises, kept by the core in process, over a real socket, and by the executable.
for (const kind of relayKinds) {
  describe(`Relay ${kind.name}`, () => {
    for (const promise of [...requestPromises, ...linkPromises, ...misbehaviourPromises]) {
      test(promise.title, () => promise.keep(kind), 30_000);
    }
  });
}
