import { AcmeSession } from "./session.ts";
import { readDirectory } from "./directory.ts";
import { AcmeError } from "./error.ts";
import type { AcmeOptions } from "./types.ts";
import type { KeyPair } from "../certificate.ts";
import type { CertificateStore } from "../store/store.ts";

/** RFC 5280 §5.3.1, as far as a subscriber may choose (CA/Browser Forum, Baseline Requirements §4.9.1.1). */
export const REVOCATION_REASONS = {
  unspecified: 0,
  keyCompromise: 1,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
} as const;
export type RevocationReason = keyof typeof REVOCATION_REASONS;

/**
 * Revokes a certificate: by the store's account at the CA, or by the certificate's own key if there is
 * none, or it is not the account that ordered it. A certificate that is revoked already is no failure.
 */
export async function revokeCertificate(
  pair: KeyPair,
  reason: RevocationReason,
  store: CertificateStore,
  options: AcmeOptions,
  signal: AbortSignal = new AbortController().signal,
): Promise<void> {
  const route = { caPem: options.caPem, clock: options.clock, signal };
  const directory = await readDirectory(options.directoryUrl, route);
  const account = await store.account(options.directoryUrl);
  const code = REVOCATION_REASONS[reason];
  if (account?.accountUrl !== undefined) {
    try {
      await new AcmeSession(directory, account, options, signal).revoke(pair.chainPem, code);
      return;
    } catch (error) {
      if (!(error instanceof AcmeError)) throw error;
      if (error.type === "alreadyRevoked") return;
      if (!/^(unauthorized|accountDoesNotExist)$/.test(error.type)) throw error;
    }
  }
  const own = new AcmeSession(directory, { keyPem: pair.keyPem }, options, signal);
  try {
    await own.revokeWithOwnKey(pair.chainPem, code);
  } catch (error) {
    if (!(error instanceof AcmeError && error.type === "alreadyRevoked")) throw error;
  }
}
