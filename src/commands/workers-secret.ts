import { MAX_NAME } from "../server/admin/fields.ts";
import type { WorkerSecretView } from "../server/admin/worker-secret-routes.ts";
import { commandNode, type Command } from "./command.ts";
import { modelsKind, oneNamed, requireName } from "./keys-shared.ts";
import { openOperator, operatorOptions } from "./operator.ts";
import { defineOptions } from "./options.ts";
import { tableText, timeText } from "./table-text.ts";
import { label } from "./value-kinds.ts";

const nameOperand = {
  operand: true,
  inFile: false,
  hint: "NAME",
  help: "Name of the secret, its id, or how it begins",
  schema: label(MAX_NAME),
} as const;

const createOptions = defineOptions({
  name: { ...nameOperand, help: "What the secret is called, such as the machine that gets it" },
  models: {
    kind: "list",
    inFile: false,
    hint: "NAMES",
    help: "Models that its workers may offer; all for every one",
    defaultText: "all",
    schema: modelsKind,
  },
  ...operatorOptions,
});

export const createSecretCommand: Command<typeof createOptions> = {
  name: "workers secret create",
  summary: "Makes a secret for a worker and shows it, once",
  examples: [
    {
      line: "modelrelay workers secret create gpu-box --models qwen3,phi4",
      does: "One that lets its worker offer two models, and can be taken back by itself",
    },
  ],
  options: createOptions,
  file: "serve",
  async run(config, { terminal }) {
    const name = requireName(config.name, "workers secret create");
    await using operator = await openOperator(config);
    const made = await operator.ask<WorkerSecretView & { secret: string }>("POST", "/admin/worker-secrets", {
      name,
      ...(config.models !== undefined && { models: config.models.value }),
    });
    if (config.json) {
      await terminal.out(`${JSON.stringify(made, null, 2)}\n`);
      return 0;
    }
    await terminal.out(`${made.secret}\n`);
    terminal.err(
      "The secret is shown only now; the relay keeps no copy. Its worker takes it from WORKER_SECRET or --worker-secret-file.\n",
    );
    return 0;
  },
};

export const listSecretsCommand: Command<typeof operatorOptions> = {
  name: "workers secret list",
  summary: "Shows every named worker secret: how it begins, whether it is valid, its models",
  examples: [{ line: "modelrelay workers secret list", does: "The secrets of the relay on this machine" }],
  options: operatorOptions,
  file: "serve",
  async run(config, { terminal }) {
    await using operator = await openOperator(config);
    const listed = await operator.ask<{ worker_secrets: WorkerSecretView[] }>("GET", "/admin/worker-secrets");
    await terminal.out(config.json ? `${JSON.stringify(listed, null, 2)}\n` : asTable(listed.worker_secrets));
    return 0;
  },
};

function asTable(secrets: readonly WorkerSecretView[]): string {
  if (secrets.length === 0) return "no named worker secrets yet\n";
  const head = ["NAME", "BEGINS WITH", "STATE", "MODELS", "MADE"];
  const rows = secrets.map(({ name, prefix, revoked, models, created_at: madeAt }) => [
    name,
    prefix,
    revoked ? "revoked" : "valid",
    models?.join(",") ?? "all",
    timeText(madeAt, ""),
  ]);
  return tableText([head, ...rows]);
}

const revokeOptions = defineOptions({ name: nameOperand, ...operatorOptions });

export const revokeSecretCommand: Command<typeof revokeOptions> = {
  name: "workers secret revoke",
  summary: "Takes a worker secret back, for good, and ends the links of the workers that have shown it",
  examples: [{ line: "modelrelay workers secret revoke gpu-box", does: "After that machine was lost" }],
  options: revokeOptions,
  file: "serve",
  async run(config, { terminal }) {
    const given = requireName(config.name, "workers secret revoke");
    await using operator = await openOperator(config);
    const listed = await operator.ask<{ worker_secrets: WorkerSecretView[] }>("GET", "/admin/worker-secrets");
    const { id, name } = oneNamed(listed.worker_secrets, given, "worker secret");
    await operator.ask("DELETE", `/admin/worker-secrets/${id}`);
    await terminal.out(
      config.json ? `${JSON.stringify({ id, name, revoked: true }, null, 2)}\n` : `${name}: revoked\n`,
    );
    return 0;
  },
};

export const createSecretNode = commandNode(createSecretCommand);
export const listSecretsNode = commandNode(listSecretsCommand);
export const revokeSecretNode = commandNode(revokeSecretCommand);
