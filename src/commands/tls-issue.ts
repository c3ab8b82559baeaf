import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf, Problem, UsageError } from "../base/errors.ts";
import type { ListenAddress } from "../server/config.ts";
import { DomainKeeper } from "../tls/keeper.ts";
import { SELF_SIGNED } from "../tls/self-signed-source.ts";
import type { CertificateStore } from "../tls/store/store.ts";
import { acmeOptionsOf, authorityOf } from "./certificate-parts.ts";
import { commandNode, type Command, type Terminal } from "./command.ts";
import { reportFailure } from "./failure.ts";
import { defineOptions, type Config } from "./options.ts";
import { createStageLog, showStages } from "./progress.ts";
import type { Reading } from "./read-config.ts";
import {
  acmeOptions,
  checkAcme,
  directoryOf,
  httpPortOption,
  LETS_ENCRYPT,
  LETS_ENCRYPT_STAGING,
} from "./tls-options.ts";
import { domainsOf, openFor, scratchStore, storeOptions, type Opened } from "./tls-shared.ts";
import { onOff } from "./value-kinds.ts";

const orderOptions = defineOptions({ ...acmeOptions, ...httpPortOption, ...storeOptions });

const forceOption = defineOptions({
  force: {
    kind: "switch",
    default: "false",
    inFile: false,
    help: "Order even where the certificate that is there is not due",
    schema: onOff,
  },
});

const issueOptions = defineOptions({ ...orderOptions, ...forceOption });

const renewOptions = defineOptions({
  ...orderOptions,
  ...forceOption,
  dryRun: {
    kind: "switch",
    default: "false",
    inFile: false,
    help: "Order from Let's Encrypt's staging CA, or from --acme-directory, and store nothing",
    schema: onOff,
  },
});

type OrderConfig = Config<typeof orderOptions>;

/** A server on port 80 for as long as orders run; `undefined` where another program has the port. */
async function openChallengePort(
  address: ListenAddress | "off",
  store: CertificateStore,
  { log }: Opened,
): Promise<{ stop(): Promise<void> } | undefined> {
  if (address === "off") return undefined;
  const { serveChallenges } = await import("../server/challenge-port.ts");
  try {
    return serveChallenges(address, (token) => store.challenge(token), log);
  } catch (error) {
    // A relay on the same data directory answers there for every process.
    log.info(`The CA's questions are left to whoever answers there now: ${messageOf(error)}`);
    return undefined;
  }
}

/** @returns the exit code: 0 if every domain has its certificate */
async function orderAll(
  domains: readonly string[],
  store: CertificateStore,
  config: OrderConfig & { force: boolean },
  opened: Opened,
  terminal: Terminal,
  told: { ordered: string; notDue: string; isKept: boolean },
): Promise<number> {
  const watched = { ...opened, log: createStageLog(opened.log) };
  const port = await openChallengePort(config.httpPort, store, opened);
  const authority = authorityOf(store, acmeOptionsOf(config, watched));
  let code = 0;
  try {
    for (const domain of domains) {
      const keeper = new DomainKeeper(domain, {
        ...watched,
        store,
        authority,
        random: Math.random,
        onChange() {},
      });
      try {
        const work = keeper.obtain({ force: config.force });
        const ordered = await showStages(domain, work, { ...watched, env: terminal.env });
        const { certificate } = keeper.report;
        const until = `, valid until ${new Date(certificate?.notAfter ?? 0).toISOString()}`;
        await terminal.out(`${domain}: ${ordered ? told.ordered : told.notDue}${told.isKept ? until : ""}\n`);
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        code = reportFailure(error, terminal.err, false);
      }
    }
  } finally {
    await port?.stop();
  }
  return code;
}

export const issueCommand: Command<typeof issueOptions> = {
  name: "tls issue",
  summary: "Gets a certificate for --domain and stores it, where serve --tls finds it",
  examples: [
    {
      line: "modelrelay tls issue --domain relay.example.com --email ops@example.com",
      does: "Order one from Let's Encrypt; port 80 has to be reachable meanwhile",
    },
  ],
  options: issueOptions,
  file: "serve",
  check: ({ config, origins }) => checkAcme(config, origins),
  async run(config, { terminal }) {
    if (config.domain === undefined) {
      throw new UsageError("Cannot order a certificate without --domain: it is for a name", {
        action: "Add --domain relay.example.com",
      });
    }
    const opened = openFor(config);
    const told = {
      ordered: "a certificate is stored",
      notDue: "there is one already, and it is not due",
      isKept: true,
    };
    return orderAll(config.domain, opened.store, config, opened, terminal, told);
  },
};

/** Staging where that is known; a private CA has none. */
function rehearsalOf(config: OrderConfig): OrderConfig {
  if (directoryOf(config) !== LETS_ENCRYPT) return config;
  return { ...config, acmeDirectory: LETS_ENCRYPT_STAGING, acmeStaging: false };
}

export const renewCommand: Command<typeof renewOptions> = {
  name: "tls renew",
  summary: "Renews the stored certificates that are due; serve does so by itself",
  examples: [
    {
      line: "modelrelay tls renew --dry-run",
      does: "See whether renewal would work, with a CA that counts nothing; nothing is stored",
    },
    { line: "modelrelay tls renew --force", does: "Renew now, whether due or not" },
  ],
  options: renewOptions,
  file: "serve",
  check: ({ config, origins }: Reading<typeof renewOptions>) => checkAcme(config, origins),
  async run(config, { terminal }) {
    const opened = openFor(config);
    const named = await domainsOf(config.domain, opened.store);
    const domains = named.filter((domain) => domain !== SELF_SIGNED);
    if (!config.dryRun) {
      const told = { ordered: "renewed", notDue: "not due", isKept: true };
      return orderAll(domains, opened.store, config, opened, terminal, told);
    }
    const dir = mkdtempSync(join(tmpdir(), "modelrelay-dry-run-"));
    try {
      const rehearsal = { ...rehearsalOf(config), force: true };
      const told = { ordered: "renewal would work; nothing was stored", notDue: "", isKept: false };
      return await orderAll(domains, scratchStore(dir, opened), rehearsal, opened, terminal, told);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  },
};

export const issueNode = commandNode(issueCommand);
export const renewNode = commandNode(renewCommand);
