import { describe, test } from "bun:test";
import { relayKinds, speaking } from "../support/relays.ts";
import { linkPromises } from "./link-promises.ts";
import { misbehaviourPromises } from "./misbehaviour-promises.ts";
import { requestPromises } from "./request-promises.ts";
import { v2Promises } from "./v2-promises.ts";

const promises = [...requestPromises, ...linkPromises, ...misbehaviourPromises, ...v2Promises];

// One list of promises, kept by the core in process, over a real socket, and by the executable, to workers
// of both versions of the link.
for (const kind of relayKinds) {
  for (const link of ["v1", "v2"] as const) {
    const spoken = speaking(kind, link);
    describe(`Relay ${spoken.name}`, () => {
      for (const promise of promises.filter(({ link: only = link }) => only === link)) {
        test(promise.title, () => promise.keep(spoken), 30_000);
      }
    });
  }
}
