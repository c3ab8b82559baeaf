import { z } from "zod";
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

// What a CA answers with is taken apart here, once: a nonsense that got further would end in an error of
// the program's own, far from its cause.

/** RFC 8555 §6.1. Requests are signed with the account's key, so that they are for a CA alone. */
const caUrl = z
  .string()
  .max(2_000)
  .refine(
    (text) => URL.canParse(text) && new URL(text).protocol === "https:",
    "expected an https:// address",
  );

const identifier = z.object({ type: z.string(), value: z.string().max(255) });

/** More names than a certificate of any public CA can have: each authorization is a request. */
const MAX_AUTHORIZATIONS = 100;

/** RFC 8555 §7.1.3. */
export const orderSchema = z.object({
  url: caUrl,
  status: z.enum(["pending", "ready", "processing", "valid", "invalid"]),
  identifiers: z.array(identifier).catch([]),
  authorizations: z.array(caUrl).max(MAX_AUTHORIZATIONS),
  finalize: caUrl,
  certificate: caUrl.optional().catch(undefined),
  error: z.unknown().optional(),
});
export type Order = z.infer<typeof orderSchema>;

/** RFC 8555 §8, for the one kind that is used here. */
const challengeSchema = z.object({
  type: z.literal("http-01"),
  url: caUrl,
  status: z.enum(["pending", "processing", "valid", "invalid"]),
  /** Base64url (RFC 8555 §8.1); it becomes part of a path. */
  token: z.string().regex(/^[A-Za-z0-9_-]{1,128}$/, "expected base64url"),
  error: z.unknown().optional(),
  /** Not of the RFC, but Let's Encrypt and Pebble have it. */
  validationRecord: z
    .array(
      z.object({
        addressUsed: z
          .string()
          .regex(/^[\w.:%]{1,64}$/)
          .optional(),
      }),
    )
    .optional()
    .catch(undefined),
});
export type Challenge = z.infer<typeof challengeSchema>;

/** RFC 8555 §7.1.4. Of the challenges only those over port 80 stay. */
export const authorizationSchema = z.object({
  url: caUrl,
  status: z.enum(["pending", "valid", "invalid", "deactivated", "expired", "revoked"]),
  identifier,
  challenges: z
    .array(z.looseObject({ type: z.string() }))
    .transform((all) => all.filter(({ type }) => type === "http-01"))
    .pipe(z.array(challengeSchema)),
});
export type Authorization = z.infer<typeof authorizationSchema>;

/** A page of RFC 8555 §7.1.2.1. */
export const orderListSchema = z.object({ url: caUrl, orders: z.array(caUrl).optional() });

/** @throws {Error} that says in a few words where an answer is not what it has to be */
export function understood<T>(schema: z.ZodType<T>, answer: unknown): T {
  const { success, data, error } = schema.safeParse(answer);
  if (success) return data;
  const [issue] = error.issues;
  throw new Error(`${issue?.path.join(".") || "all of it"}: ${issue?.message ?? "wrong"}`);
}

/** Something that a CA gave, and what it said about asking again. */
export interface Answer<T> {
  value: T;
  retryAfterMs: number | undefined;
  headers: Record<string, string>;
}
