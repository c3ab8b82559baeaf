import { UsageError } from "../base/errors.ts";
import { checkPair, coversName } from "../tls/certificate.ts";
import { parseDomain } from "../tls/domain-name.ts";
import { readPairFiles } from "../tls/pair-files.ts";
import { commandNode, type Command } from "./command.ts";
import { defineOptions } from "./options.ts";
import { acmeOptions } from "./tls-options.ts";
import { openFor, storeOptions } from "./tls-shared.ts";
import { path } from "./value-kinds.ts";

const { domain } = acmeOptions;
const importOptions = defineOptions({
  cert: {
    operand: true,
    hint: "CERT",
    inFile: false,
    help: "Certificate and its chain (PEM), such as certbot's fullchain.pem",
    schema: path,
  },
  key: {
    operand: true,
    hint: "KEY",
    inFile: false,
    help: "Its private key (PEM), such as certbot's privkey.pem",
    schema: path,
  },
  domain: { ...domain, defaultText: "every name in the certificate", help: "Names to store it for" },
  ...storeOptions,
});

export const importCommand: Command<typeof importOptions> = {
  name: "tls import",
  summary: "Stores a certificate that another program got; serve --tls goes on from there",
  examples: [
    {
      line: "modelrelay tls import /etc/letsencrypt/live/relay.example.com/fullchain.pem /etc/letsencrypt/live/relay.example.com/privkey.pem",
      does: "Take over certbot's certificate, and renew it from now on",
    },
  ],
  options: importOptions,
  file: "serve",
  async run({ cert, key, ...config }, { terminal }) {
    if (cert === undefined || key === undefined) {
      throw new UsageError(`Cannot import a certificate: ${cert === undefined ? "CERT" : "KEY"} is missing`, {
        action: "Write: modelrelay tls import fullchain.pem privkey.pem",
      });
    }
    const { store, clock } = openFor(config);
    const pair = await readPairFiles({ certFile: cert, keyFile: key });
    const facts = checkPair(pair, clock.wall());
    const names = config.domain ?? facts.names.filter(isStorable);
    const foreign = names.find((name) => !coversName(facts.names, name));
    if (foreign !== undefined || names.length === 0) {
      const which = foreign === undefined ? "any host name" : foreign;
      throw new UsageError(
        `Cannot import "${cert}": it is not for ${which}, but for ${facts.names.join(", ")}`,
        {
          action: "Name one that it is for with --domain",
        },
      );
    }
    await store.prove();
    for (const name of names) {
      await using _ = await store.lock(name);
      await store.saveCertificate(name, pair);
      await store.saveState(name, { failures: 0 });
      await terminal.out(`${name}: stored, valid until ${new Date(facts.notAfter).toISOString()}\n`);
    }
    return 0;
  },
};

/** A wildcard or an address is no domain that can be renewed here. */
function isStorable(name: string): boolean {
  try {
    return parseDomain(name) === name;
  } catch {
    return false;
  }
}

export const importNode = commandNode(importCommand);
