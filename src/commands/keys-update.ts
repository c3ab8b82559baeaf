import { systemClock } from "../base/clock.ts";
import { UsageError } from "../base/errors.ts";
import { MAX_NAME } from "../server/admin/fields.ts";
import type { KeyView } from "../server/admin/key-routes.ts";
import { commandNode, type Command } from "./command.ts";
import { keyFieldsOf, keyNamed, keyOptions, nameOperand } from "./keys-shared.ts";
import { keyText } from "./keys-text.ts";
import { openOperator, operatorOptions } from "./operator.ts";
import { defineOptions } from "./options.ts";
import { label } from "./value-kinds.ts";

const updateOptions = defineOptions({
  name: nameOperand,
  newName: { inFile: false, hint: "NAME", help: "Another name for it", schema: label(MAX_NAME) },
  ...keyOptions,
  ...operatorOptions,
});

export const updateCommand: Command<typeof updateOptions> = {
  name: "keys update",
  summary: "Changes what a key may do, from its next request on",
  examples: [
    { line: "modelrelay keys update ada --rpm 120 --models all", does: "More requests, and every model" },
    {
      line: "modelrelay keys update ci --budget-tokens 0 --expires never",
      does: "Without a budget, for good",
    },
  ],
  options: updateOptions,
  file: "serve",
  async run(config, { terminal }) {
    await using operator = await openOperator(config);
    const before = await keyNamed(operator, config.name, "keys update");
    const changes = {
      ...(config.newName !== undefined && { name: config.newName }),
      ...keyFieldsOf(config, before, systemClock.wall()),
    };
    if (Object.keys(changes).length === 0) {
      throw new UsageError("Cannot change a key without knowing what: no flag says it", {
        action: "See what can be changed with: modelrelay help keys update",
      });
    }
    const after = await operator.ask<KeyView>("PATCH", `/admin/keys/${before.id}`, changes);
    await terminal.out(
      config.json ? `${JSON.stringify(after, null, 2)}\n` : keyText(after, systemClock.wall()),
    );
    return 0;
  },
};

export const updateNode = commandNode(updateCommand);
