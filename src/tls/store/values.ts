/** What the store keeps as JSON: its shapes, and how they are checked when they are read back. */
import { z } from "zod";

/** What is remembered of a domain between starts. All times are milliseconds since the epoch. */
export interface CertificateState {
  lastError?: { at: number; message: string; action?: string };
  /** Failed tries in a row. */
  failures: number;
  /** Of the certificate that `renewAt`, `ari` and `directoryUrl` are about. */
  serial?: string;
  nextTryAt?: number;
  /** The CA asked for the wait until then, so a restart does not cut it short. */
  waitAsked?: boolean;
  /** The moment that was chosen for the renewal of the stored certificate. */
  renewAt?: number;
  /** The CA's renewal information (RFC 9773), and when to ask again. */
  ari?: { checkedAt: number; retryAt: number; start: number; end: number; explanationUrl?: string };
  /** Who issued the stored certificate. */
  directoryUrl?: string;
}

/** An order at a CA that is not finished; its key is the certificate's. */
export interface PendingOrder {
  orderUrl: string;
  keyPem: string;
  names: string[];
  directoryUrl: string;
  /** Milliseconds since the epoch. */
  createdAt: number;
}

/** An account at a CA. */
export interface StoredAccount {
  keyPem: string;
  accountUrl?: string;
  email?: string;
  eabKid?: string;
}

const text = z.string().exactOptional();
const time = z.number();

export const stateSchema: z.ZodType<CertificateState> = z.object({
  lastError: z.object({ at: time, message: z.string(), action: text }).exactOptional(),
  failures: z.number().int().nonnegative(),
  serial: text,
  nextTryAt: time.exactOptional(),
  waitAsked: z.boolean().exactOptional(),
  renewAt: time.exactOptional(),
  ari: z
    .object({ checkedAt: time, retryAt: time, start: time, end: time, explanationUrl: text })
    .exactOptional(),
  directoryUrl: text,
});

export const orderSchema: z.ZodType<PendingOrder> = z.object({
  orderUrl: z.string(),
  keyPem: z.string(),
  names: z.array(z.string()).min(1),
  directoryUrl: z.string(),
  createdAt: time,
});

/** The directory stands in the file, because the file's name is made from it and cannot be read back. */
export type AccountFile = StoredAccount & { directoryUrl: string };

export const accountSchema: z.ZodType<AccountFile> = z.object({
  directoryUrl: z.string(),
  keyPem: z.string().includes("PRIVATE KEY"),
  accountUrl: text,
  email: text,
  eabKid: text,
});
