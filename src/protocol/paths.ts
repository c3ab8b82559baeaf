/** Where workers open their link, with a WebSocket upgrade. */
export const WORKER_PATH = "/v1/worker/connect";

/**
 * Where a relay opens a WebSocket on which nothing is said, to whoever asks: so that a proxy can be tried
 * without a secret. It lies below the link's own path, which a proxy as a rule treats alike.
 */
export const LINK_CHECK_PATH = `${WORKER_PATH}/check`;

/** Where a relay offers an event stream whose parts leave apart, to whoever asks; see `stream-check.ts`. */
export const STREAM_CHECK_PATH = "/v1/stream-check";
