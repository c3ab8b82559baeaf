import { timingSafeEqual } from "node:crypto";
import { sha256, SHA256_BYTES } from "./sha256.ts";

/** Where the digest of what is presented is written; good until the next one. */
const presentedDigest = new Uint8Array(SHA256_BYTES);

/** A secret that the relay was started with; of it only the digest is kept. */
export class KnownSecret {
  readonly #digest: Uint8Array<ArrayBuffer>;
  /** Stands for the secret, and tells nothing of it. */
  readonly credential: string;

  constructor(secret: string) {
    this.#digest = sha256(secret);
    this.credential = this.#digest.toBase64({ alphabet: "base64url", omitPadding: true });
  }

  /** Compares in constant time: digests have one length, whatever was presented. */
  is(presented: string): boolean {
    return timingSafeEqual(sha256(presented, presentedDigest), this.#digest);
  }
}

/** How clients mostly write it. */
const USUAL_START = "Bearer ";
const BLANK = /\s/;

/** What a request shows as `Authorization: Bearer …`. @param authorization the field, if it is there */
export function bearerOf(authorization: string | null | undefined): string | undefined {
  if (authorization === null || authorization === undefined) return undefined;
  if (authorization.startsWith(USUAL_START)) {
    const shown = authorization.slice(USUAL_START.length);
    // Without the groups of the other pattern this takes less than half of the time.
    if (shown !== "" && !BLANK.test(shown)) return shown;
  }
  return /^Bearer +(\S+) *$/i.exec(authorization)?.[1];
}
