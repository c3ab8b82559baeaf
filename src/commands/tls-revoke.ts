import { UsageError } from "../base/errors.ts";
import { revokeCertificate, REVOCATION_REASONS, type RevocationReason } from "../tls/acme/revoke.ts";
import { acmeOptionsOf } from "./certificate-parts.ts";
import { commandNode, type Command } from "./command.ts";
import { defineOptions, kebabCase } from "./options.ts";
import { acmeOptions, checkAcme } from "./tls-options.ts";
import { domainsOf, noCertificate, openFor, storeOptions } from "./tls-shared.ts";
import { oneOf } from "./value-kinds.ts";

/** The reasons as they are written on the command line. */
const REASONS = new Map(
  (Object.keys(REVOCATION_REASONS) as RevocationReason[]).map((name) => [kebabCase(name), name]),
);

const revokeOptions = defineOptions({
  ...acmeOptions,
  reason: {
    default: "unspecified",
    hint: "REASON",
    inFile: false,
    help: "Why; key-compromise if somebody else may have the key",
    schema: oneOf([...REASONS.keys()]),
  },
  ...storeOptions,
});

export const revokeCommand: Command<typeof revokeOptions> = {
  name: "tls revoke",
  summary: "Revokes the stored certificate of --domain at the CA, and forgets it with its key",
  examples: [
    {
      line: "modelrelay tls revoke --domain relay.example.com --reason key-compromise",
      does: "After this machine's key may have been read; a running relay then gets a new one",
    },
  ],
  options: revokeOptions,
  file: "serve",
  check: ({ config, origins }) => checkAcme(config, origins),
  async run(config, { terminal }) {
    if (config.domain === undefined) {
      throw new UsageError("Cannot revoke a certificate without --domain: it cannot be undone", {
        action: "Name it with --domain",
      });
    }
    const opened = openFor(config);
    const { store } = opened;
    for (const domain of await domainsOf(config.domain, store)) {
      await using _ = await store.lock(domain);
      const pair = await store.certificate(domain);
      if (pair === undefined) throw noCertificate(domain, config.dataDir);
      const reason = REASONS.get(config.reason) ?? "unspecified";
      await revokeCertificate(pair, reason, store, acmeOptionsOf(config, opened));
      await store.dropCertificate(domain);
      await store.saveState(domain, { failures: 0 });
      await terminal.out(`${domain}: revoked and forgotten\n`);
    }
    return 0;
  },
};

export const revokeNode = commandNode(revokeCommand);
