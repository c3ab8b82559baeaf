/**
 * The link's numbers, in one place; `docs/protocol.md` explains each. Sizes are bytes, times are ms.
 */

/** Largest WebSocket message of v1: servers in the field drop a worker above it, and workers their link. */
export const V1_MAX_MESSAGE = 16 * 1024 * 1024;

/** Body text per `response_chunk` at most; JSON escaping can make it six times longer on the wire. */
export const V1_MAX_CHUNK = 1024 * 1024;

/** Body text per part of a request that goes out in parts, in bytes before it is escaped. */
export const V1_MAX_PART = 1024 * 1024;

/** Subprotocol of the WebSocket by which two ends agree on v2 (RFC 6455 §1.9). */
export const V2_SUBPROTOCOL = "modelrelay.v2";
/** Body bytes of one frame. */
export const V2_MAX_BODY = 64 * 1024;
/** Bytes of any other frame; a list of `MAX_MODELS` names fits. */
export const V2_MAX_TEXT = 1024 * 1024;
/** Body bytes that may be on their way for one request before its reader has asked for more. */
export const V2_WINDOW = 256 * 1024;
/** Bounds of the window that a peer may announce. */
export const V2_MIN_WINDOW = 16 * 1024;
export const V2_MAX_WINDOW = 64 * 1024 * 1024;
/** Body bytes that a peer may have allowed and not seen yet: what fits into a credit frame. */
export const V2_MAX_CREDIT = 0xffff_ffff;
/** Sent and not acknowledged: bodies wait above the first, the link ends above the second. */
export const V2_UNACKED_PAUSE = 8 * 1024 * 1024;
export const V2_UNACKED_LIMIT = 64 * 1024 * 1024;
/** An acknowledgement goes out after this many frames or bytes, and with each ping and pong. */
export const V2_ACK_FRAMES = 64;
export const V2_ACK_BYTES = 64 * 1024;
/** Frames that are ready together leave together, in messages of about this many bytes. */
export const V2_BATCH = 256 * 1024;
/** Bytes of frames in one packed frame. */
export const V2_MAX_UNPACKED = 1024 * 1024;
/** Time for which a session outlives its carrier. */
export const V2_GRACE_MS = 15_000;

/** Models that one worker may register; what is beyond is left out and named in a warning. */
export const MAX_MODELS = 1_000;

/** Characters of one model name. */
export const MAX_MODEL_NAME = 256;

/** Characters of a worker's name. */
export const MAX_WORKER_NAME = 128;

/** Requests that one worker may take at once. */
export const MAX_CONCURRENCY = 4_096;

/** The relay pings each link this often, and drops one that has not answered for `PONG_TIMEOUT_MS`. */
export const PING_INTERVAL_MS = 15_000;
export const PONG_TIMEOUT_MS = 45_000;

/** Time a new connection has to send `register`. */
export const REGISTER_TIMEOUT_MS = 10_000;

/** WebSocket close codes that a link ends with; 4000-4999 are for applications (RFC 6455 §7.4.2). */
export const CLOSE = {
  /** The relay is going away or restarting: dial again (RFC 6455's registry: Service Restart). */
  restart: 1012,
  /** A message broke the rules of the protocol. */
  protocol: 1002,
  /** The worker has drained and leaves. */
  normal: 1000,
  /** The other end fell silent. */
  silent: 4000,
  /** The two ends share no protocol version. */
  version: 4001,
  /** Another connection goes on with this session. */
  superseded: 4002,
  /** A frame or a field is longer than the limits allow. */
  tooLarge: 4003,
  /** More body was sent than the reader had asked for, or nothing was acknowledged. */
  flow: 4004,
} as const;

/**
 * Closes by which an end says that the link is over, so that nobody waits for it to come back. Every other
 * end of a connection is a cut.
 */
export const GOODBYES: ReadonlySet<number> = new Set(
  Object.values(CLOSE).filter((code) => code !== CLOSE.silent),
);
