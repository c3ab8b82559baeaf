import { hash, timingSafeEqual } from "node:crypto";

/** A secret that the relay was started with; of it only the digest is kept. */
export class KnownSecret {
  readonly #digest: Buffer;
  /** Stands for the secret, and tells nothing of it. */
  readonly credential: string;

  constructor(secret: string) {
    this.#digest = digest(secret);
    this.credential = this.#digest.toString("base64url");
  }

  /** Compares in constant time: digests have one length, whatever was presented. */
  is(presented: string): boolean {
    return timingSafeEqual(digest(presented), this.#digest);
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

function digest(secret: string): Buffer {
  return hash("sha256", secret, "buffer");
}
