import type { CommandFacts } from "./command.ts";
import { completionsFacts } from "./completions-options.ts";
import { backupCommand } from "./db-backup.ts";
import { checkCommand as databaseCheckCommand } from "./db-check.ts";
import { demoCommand } from "./demo.ts";
import { doctorCommand } from "./doctor.ts";
import { createCommand } from "./keys-create.ts";
import { listCommand, showCommand } from "./keys-list.ts";
import { revokeKeyCommand } from "./keys-revoke.ts";
import { updateCommand as updateKeyCommand } from "./keys-update.ts";
import { serveCommand } from "./serve.ts";
import { installCommand } from "./service-install.ts";
import { logsCommand } from "./service-logs.ts";
import { restartCommand } from "./service-restart.ts";
import { statusCommand as serviceStatusCommand } from "./service-status.ts";
import { uninstallCommand } from "./service-uninstall.ts";
import { statusCommand } from "./status.ts";
import { checkCommand } from "./tls-check.ts";
import { importCommand } from "./tls-import.ts";
import { issueCommand, renewCommand } from "./tls-issue.ts";
import { caddyCommand, haproxyCommand, nginxCommand } from "./tls-proxy.ts";
import { revokeCommand } from "./tls-revoke.ts";
import { statusCommand as tlsStatusCommand } from "./tls-status.ts";
import { updateCommand } from "./update.ts";
import { usageCommand } from "./usage.ts";
import { workerCommand } from "./worker.ts";
import { createSecretCommand, listSecretsCommand, revokeSecretCommand } from "./workers-secret.ts";

/** Every command, in the order of the help and of the reference page. */
export const ALL_COMMANDS: readonly CommandFacts[] = [
  serveCommand,
  workerCommand,
  demoCommand,
  statusCommand,
  doctorCommand,
  usageCommand,
  updateCommand,
  completionsFacts,
  installCommand,
  serviceStatusCommand,
  logsCommand,
  restartCommand,
  uninstallCommand,
  createCommand,
  listCommand,
  showCommand,
  updateKeyCommand,
  revokeKeyCommand,
  createSecretCommand,
  listSecretsCommand,
  revokeSecretCommand,
  issueCommand,
  renewCommand,
  tlsStatusCommand,
  checkCommand,
  importCommand,
  revokeCommand,
  nginxCommand,
  caddyCommand,
  haproxyCommand,
  backupCommand,
  databaseCheckCommand,
];

/** What a group of commands is for, by its name. */
export const GROUPS: Readonly<Record<string, string>> = {
  service: "Keeps serve or worker running: install, status, logs, restart, uninstall",
  keys: "Looks after the keys of clients: create, list, show, update, revoke",
  workers: "Looks after the secrets of workers: secret create, secret list, secret revoke",
  tls: "Looks after certificates: issue, renew, status, check, import, revoke, and proxies' configurations",
  db: "Looks after the database of keys and usage: backup, check",
};
