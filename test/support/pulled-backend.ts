import type { HeaderFields } from "../../src/protocol/messages.ts";
import type { BackendError } from "../../src/worker/backend-error.ts";
import { createBackend, type BackendOptions, type BackendRequest } from "../../src/worker/backend.ts";

/** An answer that is read part by part; while nobody reads, the backend is held back. */
export interface PulledResponse {
  status: number;
  headers: HeaderFields;
  /** `undefined` at the end. @throws {BackendError} */
  read(): Promise<Uint8Array | undefined>;
}

type Told = { bytes: Uint8Array } | { end: true } | { error: BackendError };

/** A backend whose answers are asked for by promises, as tests like to. */
export function pulledBackend(options: BackendOptions) {
  const backend = createBackend(options);
  return {
    backend,
    /** @param signal cancels the call; the promises are then rejected with its reason */
    send(request: BackendRequest, signal?: AbortSignal): Promise<PulledResponse> {
      return new Promise((resolve, reject) => {
        const told: Told[] = [];
        let reader: PromiseWithResolvers<Uint8Array | undefined> | undefined;
        const serve = (): void => {
          const next = told[0];
          if (reader === undefined || next === undefined) return;
          const { resolve: give, reject: refuse } = reader;
          reader = undefined;
          if ("error" in next) return refuse(next.error);
          if ("end" in next) return give(undefined);
          told.shift();
          give(next.bytes);
        };
        const tell = (what: Told): void => {
          told.push(what);
          serve();
        };
        const call = backend.send(request, {
          head({ status, headers }) {
            call.pause();
            resolve({
              status,
              headers,
              read() {
                reader = Promise.withResolvers();
                const { promise } = reader;
                if (told.length === 0) call.resume();
                serve();
                return promise;
              },
            });
          },
          body(bytes) {
            tell({ bytes });
            call.pause();
          },
          end: () => tell({ end: true }),
          failed(error) {
            reject(error);
            tell({ error });
          },
        });
        signal?.addEventListener("abort", () => {
          call.cancel();
          reject(signal.reason as Error);
          reader?.reject(signal.reason as Error);
        });
      });
    },
  };
}
