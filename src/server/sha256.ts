/** Length of a SHA-256, in bytes. */
export const SHA256_BYTES = 32;

/**
 * The SHA-256 of a text in UTF-8.
 *
 * @param into where it is written, for who hashes often: making room takes as long as hashing does
 */
export function sha256(text: string, into = new Uint8Array(SHA256_BYTES)): Uint8Array<ArrayBuffer> {
  Bun.SHA256.hash(text, into);
  return into;
}
