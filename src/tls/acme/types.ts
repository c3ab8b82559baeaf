import type { Clock } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";

/** How to order certificates of a CA. */
export interface AcmeOptions {
  directoryUrl: string;
  /** Told to the CA with the account. */
  email?: string;
  /** Binding to an account at the CA's site (RFC 8555 §7.3.4); the key in base64url. */
  eab?: { kid: string; hmacKey: string };
  /** Certificates (PEM) that alone are trusted for the CA's own HTTPS. */
  caPem?: string;
  /** One of the CA's certificate profiles, such as `shortlived`. */
  profile?: string;
  clock: Clock;
  log: Log;
}

/** RFC 8555 §7.1.3. */
export interface Order {
  url: string;
  status: "pending" | "ready" | "processing" | "valid" | "invalid";
  identifiers: { type: string; value: string }[];
  authorizations: string[];
  finalize: string;
  certificate?: string;
  error?: unknown;
}

/** RFC 8555 §7.1.4 and §8. */
export interface Authorization {
  url: string;
  status: "pending" | "valid" | "invalid" | "deactivated" | "expired" | "revoked";
  identifier: { type: string; value: string };
  challenges: Challenge[];
}

export interface Challenge {
  type: string;
  url: string;
  status: "pending" | "processing" | "valid" | "invalid";
  token: string;
  error?: object;
  /** Not of the RFC, but Let's Encrypt and Pebble have it. */
  validationRecord?: { addressUsed?: string }[];
}

/** Something that a CA gave, and what it said about asking again. */
export interface Answer<T> {
  value: T;
  retryAfterMs: number | undefined;
  headers: Record<string, string>;
}
