import { DomainKeeper, type KeeperParts } from "./keeper.ts";
import type { CertificateSource, Identity } from "./source.ts";

/**
 * Keeps one certificate for each domain. Nothing here fails for want of a certificate: that is told in the
 * reports and tried again.
 *
 * @throws {Problem} if the store cannot be used
 */
export async function keepCertificates(
  domains: readonly string[],
  parts: Omit<KeeperParts, "onChange"> & { onChange: (identities: readonly Identity[]) => void },
): Promise<CertificateSource> {
  await parts.store.prove();
  let opened = false;
  // What is there from the start is for the caller to ask for, once and whole: each change of a hundred
  // domains would open the port anew.
  const onChange = () => {
    if (opened) parts.onChange(identities());
  };
  const keepers = domains.map((domain) => new DomainKeeper(domain, { ...parts, onChange }));
  const identities = () =>
    keepers.map((keeper) => keeper.identity).filter((identity) => identity !== undefined);
  for (const keeper of keepers) await keeper.open();
  opened = true;
  return {
    identities,
    reports: () => keepers.map((keeper) => keeper.report),
    reload() {
      for (const keeper of keepers) keeper.retry();
    },
    async close() {
      await Promise.all(keepers.map((keeper) => keeper.close()));
    },
  };
}
