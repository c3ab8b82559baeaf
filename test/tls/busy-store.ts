import type { CertificateStore } from "../../src/tls/store/store.ts";

/** Calls of the store that have not ended: those for a lock, which may wait for its holder, and the others. */
export const running = { locks: 0, others: 0 };

/** The store, so that a test can tell when nobody uses it any more. */
export function watched(inner: CertificateStore): CertificateStore {
  return new Proxy(inner, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== "function") return member;
      return async (...args: unknown[]): Promise<unknown> => {
        const kind = name === "lock" ? "locks" : "others";
        running[kind]++;
        try {
          return await (member as (...given: unknown[]) => Promise<unknown>).apply(target, args);
        } finally {
          running[kind]--;
        }
      };
    },
  });
}
