import { Problem } from "../base/errors.ts";
import { commandNode, type Command } from "./command.ts";
import { defineOptions } from "./options.ts";
import { openServices, serviceMeant, serviceOptions } from "./service-shared.ts";
import { integer, onOff } from "./value-kinds.ts";

const logsOptions = defineOptions({
  ...serviceOptions,
  lines: {
    default: "100",
    inFile: false,
    hint: "NUMBER",
    help: "How many of the last lines",
    schema: integer(0, 1_000_000),
  },
  follow: {
    kind: "switch",
    default: "false",
    inFile: false,
    help: "Go on with what is written, until Ctrl-C",
    schema: onOff,
  },
});

const NOT_FOUND = 127;

export const logsCommand: Command<typeof logsOptions> = {
  name: "service logs",
  summary: "Shows what a service has written",
  examples: [
    { line: "modelrelay service logs", does: "The last lines of the only service" },
    {
      line: "modelrelay service logs worker gpu-box --follow",
      does: "Those of one of several, as they come",
    },
  ],
  options: logsOptions,
  readsEnvironment: false,
  async run(config, { terminal }) {
    const { machine, supervisor } = await openServices(terminal);
    const id = await serviceMeant(supervisor, config, "logs");
    const command = supervisor.logCommand(id, config);
    const code = await machine.attach(command);
    if (code === NOT_FOUND)
      throw new Problem(
        `Cannot read the log of ${supervisor.unitName(id)}: this machine has no ${command[0]}`,
      );
    return code;
  },
};

export const logsNode = commandNode(logsCommand);
