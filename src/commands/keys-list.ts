import { systemClock } from "../base/clock.ts";
import type { KeyView } from "../server/admin/key-routes.ts";
import { commandNode, type Command } from "./command.ts";
import { keyNamed, nameOperand } from "./keys-shared.ts";
import { keyList, keyText } from "./keys-text.ts";
import { openOperator, operatorOptions } from "./operator.ts";
import { defineOptions } from "./options.ts";

export const listCommand: Command<typeof operatorOptions> = {
  name: "keys list",
  summary: "Shows every key: its name, how it begins, whether it is valid, its limits",
  examples: [{ line: "modelrelay keys list", does: "The keys of the relay on this machine" }],
  options: operatorOptions,
  file: "serve",
  async run(config, { terminal }) {
    await using operator = await openOperator(config);
    const listed = await operator.ask<{ keys: KeyView[] }>("GET", "/admin/keys");
    await terminal.out(
      config.json ? `${JSON.stringify(listed, null, 2)}\n` : keyList(listed.keys, systemClock.wall()),
    );
    return 0;
  },
};

const showOptions = defineOptions({ name: nameOperand, ...operatorOptions });

export const showCommand: Command<typeof showOptions> = {
  name: "keys show",
  summary: "Shows one key: what it may do, and when it was last used",
  examples: [
    { line: "modelrelay keys show ada", does: "The key of that name; its id or its beginning will do" },
  ],
  options: showOptions,
  file: "serve",
  async run(config, { terminal }) {
    await using operator = await openOperator(config);
    const key = await keyNamed(operator, config.name, "keys show");
    await terminal.out(config.json ? `${JSON.stringify(key, null, 2)}\n` : keyText(key, systemClock.wall()));
    return 0;
  },
};

export const listNode = commandNode(listCommand);
export const showNode = commandNode(showCommand);
