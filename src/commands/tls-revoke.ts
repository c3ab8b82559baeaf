import { revokeCertificate } from "../tls/acme/revoke.ts";
import { acmeOptionsOf } from "./certificate-parts.ts";
import { commandNode, type Command } from "./command.ts";
import { defineOptions } from "./options.ts";
import { acmeOptions, checkAcme } from "./tls-options.ts";
import { domainsOf, noCertificate, openFor, storeOptions } from "./tls-shared.ts";
import { UsageError } from "../base/errors.ts";
import { oneOf } from "./value-kinds.ts";

/** RFC 5280 §5.3.1; those that a subscriber may give (CA/Browser Forum, Baseline Requirements §4.9.1.1). */
const REASONS = {
  unspecified: "unspecified",
  "key-compromise": "keyCompromise",
  "affiliation-changed": "affiliationChanged",
  superseded: "superseded",
  "cessation-of-operation": "cessationOfOperation",
} as const;

export const revokeOptions = defineOptions({
  ...acmeOptions,
  reason: {
    default: "unspecified",
    hint: "REASON",
    inFile: false,
    help: "Why; key-compromise if somebody else may have the key",
    schema: oneOf(Object.keys(REASONS) as (keyof typeof REASONS)[]),
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
      await revokeCertificate(pair, REASONS[config.reason], store, acmeOptionsOf(config, opened));
      await store.dropCertificate(domain);
      await store.saveState(domain, { failures: 0 });
      await terminal.out(`${domain}: revoked and forgotten\n`);
    }
    return 0;
  },
};

export const revokeNode = commandNode(revokeCommand);
