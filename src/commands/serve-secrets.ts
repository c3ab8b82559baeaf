import type { Log } from "../base/log.ts";
import type { Terminal } from "./command.ts";
import { keepSecret, type KeptSecret } from "./kept-secret.ts";
import { isPublic, type ServeConfig } from "./serve-options.ts";
import { leadsHere } from "./value-kinds.ts";

/** What workers, clients and operators have to show, and the files in which the relay keeps what it made itself. */
export interface Secrets {
  workerSecret: string;
  workerFile: KeptSecret | undefined;
  apiKey: string | undefined;
  keyFile: KeptSecret | undefined;
  requireApiKeys: boolean;
  adminToken: string;
  adminFile: KeptSecret | undefined;
}

/** Whether clients must show a key. */
function needsKeys(config: ServeConfig): boolean {
  if (config.allowAnonymous) return false;
  return config.requireApiKeys ?? (isPublic(config) || config.apiKey !== undefined);
}

export function secretsOf(config: ServeConfig, log: Log): Secrets {
  const { dataDir, workerSecret, apiKey, adminToken } = config;
  const requireApiKeys = needsKeys(config);
  const workerFile = workerSecret === undefined ? keepSecret(dataDir, "worker-secret") : undefined;
  const keyFile = requireApiKeys && apiKey === undefined ? keepSecret(dataDir, "api-key") : undefined;
  const adminFile = adminToken === undefined ? keepSecret(dataDir, "admin-token") : undefined;
  for (const kept of [workerFile, keyFile, adminFile]) {
    if (kept?.isOpenToAll !== true) continue;
    const message =
      "Every user of this machine can read or change this secret: take that right away (chmod 600)";
    log.warn(message, { file: kept.path });
  }
  return {
    workerSecret: workerSecret ?? workerFile?.secret ?? "",
    workerFile,
    apiKey: apiKey ?? keyFile?.secret,
    keyFile,
    requireApiKeys,
    adminToken: adminToken ?? adminFile?.secret ?? "",
    adminFile,
  };
}

/** A path as the platform's shell takes it; the usual place for data has a space in it on macOS. */
function shellPath(path: string): string {
  if (/^[\w./:\\-]+$/.test(path)) return path;
  return process.platform === "win32" ? `"${path}"` : `'${path.replaceAll("'", String.raw`'\''`)}'`;
}

/** What to type next, once somebody can. */
export function tellHow(
  url: string,
  { workerFile, keyFile, requireApiKeys, adminFile }: Secrets,
  terminal: Terminal,
  pin?: string,
): void {
  const trust = pin === undefined ? "" : ` --pin ${pin}`;
  if (workerFile !== undefined) {
    terminal.err(
      `Workers connect with: modelrelay worker --proxy-url ${url}${trust} --worker-secret-file ${shellPath(workerFile.path)}\n`,
    );
  } else if (pin !== undefined) terminal.err(`Workers trust this relay with: --pin ${pin}\n`);
  if (keyFile !== undefined) {
    terminal.err(`Clients use base URL ${url}/v1 and the API key in ${shellPath(keyFile.path)}\n`);
  } else if (!requireApiKeys) terminal.err(`Clients use base URL ${url}/v1, without a key\n`);
  // Once: who has seen it at the first start knows it.
  if (adminFile?.isNew !== true) return;
  terminal.err("Each client gets a key of its own with: modelrelay keys create NAME\n");
  if (leadsHere(url)) return;
  terminal.err(
    `Other machines do that with: --relay-url ${url} and the admin token in ${shellPath(adminFile.path)}\n`,
  );
}
