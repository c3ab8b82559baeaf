import { commandNode, type Command } from "./command.ts";
import { keyNamed, nameOperand } from "./keys-shared.ts";
import { openOperator, operatorOptions } from "./operator.ts";
import { defineOptions } from "./options.ts";
import { onOff } from "./value-kinds.ts";

const revokeOptions = defineOptions({
  name: nameOperand,
  revokeRunning: {
    kind: "switch",
    default: "false",
    inFile: false,
    help: "End what runs for it on this relay as well",
    schema: onOff,
  },
  ...operatorOptions,
});

export const revokeKeyCommand: Command<typeof revokeOptions> = {
  name: "keys revoke",
  summary: "Takes a key back, for good: requests that show it are refused from now on",
  examples: [
    { line: "modelrelay keys revoke ada", does: "What runs for it may finish" },
    {
      line: "modelrelay keys revoke ada --revoke-running",
      does: "After it leaked: running answers end with an error, too",
    },
  ],
  options: revokeOptions,
  file: "serve",
  async run(config, { terminal }) {
    await using operator = await openOperator(config);
    const { id, name } = await keyNamed(operator, config.name, "keys revoke");
    const query = config.revokeRunning ? "?revoke_running=true" : "";
    await operator.ask("DELETE", `/admin/keys/${id}${query}`);
    await terminal.out(
      config.json ? `${JSON.stringify({ id, name, revoked: true }, null, 2)}\n` : `${name}: revoked\n`,
    );
    return 0;
  },
};

export const revokeKeyNode = commandNode(revokeKeyCommand);
