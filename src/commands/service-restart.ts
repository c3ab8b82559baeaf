import { runAll } from "../service/index.ts";
import { commandNode, type Command } from "./command.ts";
import { defineOptions } from "./options.ts";
import { openServices, requireRights, serviceMeant, serviceOptions, waitOption } from "./service-shared.ts";
import { showReady } from "./service-wait.ts";
import { onOff } from "./value-kinds.ts";

const restartOptions = defineOptions({
  ...serviceOptions,
  cold: {
    kind: "switch",
    default: "false",
    inFile: false,
    help: "Stop a relay and start it, which refuses connections meanwhile; what changed in its unit or its environment file is used only then",
    schema: onOff,
  },
  waitMs: waitOption,
});

export const restartCommand: Command<typeof restartOptions> = {
  name: "service restart",
  summary: "Restarts a service; under systemd a new relay takes over from the old one, and no stream is cut",
  examples: [
    { line: "sudo modelrelay service restart serve", does: "The new program, after an update" },
    {
      line: "sudo modelrelay service restart serve --cold",
      does: "With settings that were changed in the unit",
    },
  ],
  options: restartOptions,
  readsEnvironment: false,
  async run(config, { terminal }) {
    const { machine, supervisor } = await openServices(terminal);
    const id = await serviceMeant(supervisor, config, "restart");
    await requireRights(supervisor, id.scope, `restart ${supervisor.unitName(id)}`);
    const { pid: before, changed } = await supervisor.state(id);
    // One that does not run has nothing to hand over.
    const isCold = config.cold || before === undefined;
    if (changed && !isCold && supervisor.handsOver)
      terminal.err("The unit has changed; that is used only after a restart with --cold\n");
    await runAll(supervisor.restart(id, isCold), machine);
    if (config.waitMs > 0)
      await showReady(id, { machine, supervisor, terminal, timeoutMs: config.waitMs, before });
    return 0;
  },
};

export const restartNode = commandNode(restartCommand);
