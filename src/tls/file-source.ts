import { watchFiles, type WatchedFilesOptions } from "./watched-files.ts";
import type { CertificateFacts, KeyPair } from "./certificate.ts";
import { plainPair } from "./pem.ts";
import type { CertificateSource, Identity } from "./source.ts";

/**
 * A certificate that another program renews in its files.
 *
 * @throws {Problem} if the files cannot be used now
 */
export async function followFiles(
  options: Omit<WatchedFilesOptions, "onChange"> & {
    onChange: (identities: readonly Identity[]) => void;
  },
): Promise<CertificateSource> {
  const files = await watchFiles({
    ...options,
    onChange: (pair, facts) => options.onChange([identity(pair, facts)]),
  });
  return {
    identities: () => [identity(files.pair, files.facts)],
    reports: () => [
      {
        // Not the path: strangers can ask for the status.
        subject: files.facts.names[0] ?? "the certificate",
        names: files.facts.names,
        certificate: files.facts,
        ...(files.lastError !== undefined && { lastError: files.lastError }),
      },
    ],
    reload() {
      // It tells by itself what is wrong.
      void files.reload();
    },
    close() {
      files.close();
      return Promise.resolve();
    },
  };
}

/** Without what editors and copying leave around the blocks, such as a byte order mark: the listener bears none. */
function identity(pair: KeyPair, facts: CertificateFacts): Identity {
  return { names: facts.names, ...plainPair(pair) };
}
