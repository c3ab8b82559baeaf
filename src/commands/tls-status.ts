import { readCertificate } from "../tls/certificate.ts";
import { stateFor } from "../tls/renewal.ts";
import { SELF_SIGNED } from "../tls/self-signed-source.ts";
import type { CertificateStore } from "../tls/store/store.ts";
import { commandNode, type Command } from "./command.ts";
import { defineOptions } from "./options.ts";
import { jsonOption } from "./shared-options.ts";
import { acmeOptions } from "./tls-options.ts";
import { domainsOf, openFor, storeOptions } from "./tls-shared.ts";

const { domain } = acmeOptions;
const statusOptions = defineOptions({ domain, json: jsonOption, ...storeOptions });

const DAY_MS = 86_400_000;

/** What `tls status --json` prints for one domain. Times are ISO 8601; `null` where there is none. */
interface DomainStatus {
  domain: string;
  names: string[];
  issuer: string | null;
  serial: string | null;
  not_after: string | null;
  /** Whole days, rounded down; negative after the end. */
  days_left: number | null;
  renew_at: string | null;
  next_try_at: string | null;
  last_error: { at: string; message: string; action?: string } | null;
  pin: string | null;
}

async function statusOf(name: string, store: CertificateStore, nowMs: number): Promise<DomainStatus> {
  const pair = await store.certificate(name);
  const facts = pair && readCertificate(pair.chainPem);
  const stored = await store.state(name);
  const state = facts === undefined ? stored : stateFor(facts, stored, 0);
  const { lastError } = state;
  return {
    domain: name === SELF_SIGNED ? "self-signed" : name,
    names: facts?.names ?? [],
    issuer: facts?.issuer ?? null,
    serial: facts?.serial ?? null,
    not_after: time(facts?.notAfter),
    days_left: facts === undefined ? null : Math.floor((facts.notAfter - nowMs) / DAY_MS),
    renew_at: time(state.renewAt),
    next_try_at: time(state.nextTryAt),
    last_error: lastError === undefined ? null : { ...lastError, at: time(lastError.at) ?? "" },
    pin: facts?.pin ?? null,
  };
}

function time(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}

function asText(status: DomainStatus): string {
  const { names, issuer, not_after: until, days_left: days, last_error: error } = status;
  const lines = [
    until === null ? "certificate   none" : `certificate   by ${issuer}, serial ${status.serial}`,
    ...(names.length > 0 ? [`names         ${names.join(", ")}`] : []),
    ...(until === null ? [] : [`valid until   ${until} (${daysText(days ?? 0)})`]),
    ...(status.renew_at === null ? [] : [`next renewal  ${status.renew_at}`]),
    ...(error === null ? [] : [`last error    ${error.at}  ${error.message}`]),
    ...(error?.action === undefined ? [] : [`              → ${error.action}`]),
    ...(status.next_try_at === null ? [] : [`next try      ${status.next_try_at}`]),
    ...(status.pin === null ? [] : [`pin           ${status.pin}`]),
  ];
  return `${status.domain}\n${lines.map((line) => `  ${line}\n`).join("")}`;
}

function daysText(days: number): string {
  if (days < 0) return "expired";
  return days === 1 ? "1 day left" : `${days} days left`;
}

export const statusCommand: Command<typeof statusOptions> = {
  name: "tls status",
  summary: "Shows the stored certificates: names, issuer, days left, next renewal, last error",
  examples: [{ line: "modelrelay tls status", does: "Every certificate of the relay on this machine" }],
  options: statusOptions,
  file: "serve",
  async run(config, { terminal }) {
    const { store, clock } = openFor(config);
    const statuses: DomainStatus[] = [];
    for (const name of await domainsOf(config.domain, store)) {
      statuses.push(await statusOf(name, store, clock.wall()));
    }
    await terminal.out(
      config.json
        ? `${JSON.stringify({ certificates: statuses }, null, 2)}\n`
        : statuses.map(asText).join("\n"),
    );
    return 0;
  },
};

export const statusNode = commandNode(statusCommand);
