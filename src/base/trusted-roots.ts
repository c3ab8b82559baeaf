import { X509Certificate } from "node:crypto";
import { getCACertificates } from "node:tls";
import { messageOf, Problem } from "./errors.ts";
import { certificateBlocks } from "./pem.ts";

let ownRoots: readonly string[] | undefined;

/**
 * Certificates of authorities that a connection may rest on, as PEM: those that come with the runtime,
 * those of this system's store, and those of `extraPem`. A `ca` given to a TLS connection replaces the
 * roots that it would have had, so that all of them have to be named.
 */
export function trustedRoots(extraPem?: string): string[] {
  ownRoots ??= [...new Set([...getCACertificates("default"), ...getCACertificates("system")])];
  return extraPem === undefined ? [...ownRoots] : [...ownRoots, ...certificateBlocks(extraPem)];
}

/**
 * Looks at the certificates of a private authority before anything rests on them.
 *
 * @param source finishes the sentence "Cannot use …", such as `"ca.pem" as ca-file (flag --ca-file)`
 * @throws {Problem} if there is none, or one of them cannot be read
 */
export function checkAuthorities(pem: string, source: string): void {
  const blocks = certificateBlocks(pem);
  if (blocks.length === 0) {
    throw new Problem(`Cannot use ${source}: it holds no certificate in PEM`, {
      action:
        "Name the authority's certificate, a text file that begins with -----BEGIN CERTIFICATE-----; not its key",
    });
  }
  for (const [index, block] of blocks.entries()) {
    try {
      void new X509Certificate(block);
    } catch (cause) {
      throw new Problem(
        `Cannot use ${source}: certificate ${index + 1} of ${blocks.length} is damaged: ${messageOf(cause)}`,
        { action: "Copy the file again from where the authority offers it", cause },
      );
    }
  }
}
