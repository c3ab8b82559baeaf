declare const MODELRELAY_RELEASE_ADDRESS: string | undefined;

/**
 * Where releases are, as `scripts/release.ts --base-url` wrote it into the executable; `undefined` in one that
 * was built without. Whoever runs it can name another.
 */
export const releaseAddress: string | undefined =
  typeof MODELRELAY_RELEASE_ADDRESS === "string" ? MODELRELAY_RELEASE_ADDRESS : undefined;
