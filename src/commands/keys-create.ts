import { systemClock } from "../base/clock.ts";
import type { KeyView } from "../server/admin/key-routes.ts";
import { commandNode, type Command } from "./command.ts";
import { keyFieldsOf, keyOptions, nameOperand, requireName } from "./keys-shared.ts";
import { keyText } from "./keys-text.ts";
import { openOperator, operatorOptions } from "./operator.ts";
import { defineOptions } from "./options.ts";

const createOptions = defineOptions({
  name: { ...nameOperand, help: "What the key is called in lists, logs and usage" },
  ...keyOptions,
  ...operatorOptions,
});

export const createCommand: Command<typeof createOptions> = {
  name: "keys create",
  summary: "Makes a key for a client and shows it, once",
  examples: [
    { line: "modelrelay keys create ada", does: "A key that may use every model without a limit" },
    {
      line: "modelrelay keys create ci --models qwen3 --rpm 60 --budget-tokens 1000000 --budget-period day --expires 30d",
      does: "One for a single model, 60 requests a minute and a million tokens a day, for thirty days",
    },
  ],
  options: createOptions,
  file: "serve",
  async run(config, { terminal }) {
    const name = requireName(config.name, "keys create");
    const fields = keyFieldsOf(config, undefined, systemClock.wall());
    await using operator = await openOperator(config);
    const made = await operator.ask<KeyView & { secret: string }>("POST", "/admin/keys", { name, ...fields });
    if (config.json) {
      await terminal.out(`${JSON.stringify(made, null, 2)}\n`);
      return 0;
    }
    await terminal.out(`${made.secret}\n`);
    terminal.err(`${keyText(made, systemClock.wall())}The key is shown only now; the relay keeps no copy.\n`);
    return 0;
  },
};

export const createNode = commandNode(createCommand);
