import { describe, test } from "bun:test";
import { workerKinds } from "./worker-kinds.ts";
import { keepPromise, workerPromises } from "./worker-promises.ts";

// One list of promises, kept by our worker in process and by the executable, to relays of both versions of
// the link. It offers version 2 to each; a relay of version 1 does not pick it, as the relays in the field.
for (const kind of workerKinds) {
  for (const version of ["v1", "v2"] as const) {
    describe(`Worker ${kind.name}, relay ${version}`, () => {
      for (const promise of workerPromises.filter(({ link = version }) => link === version)) {
        test(promise.title, () => keepPromise(promise, kind, version), 30_000);
      }
    });
  }
}
