import { Problem } from "../base/errors.ts";
import { uninstall, type Machine, type ServiceId, type Supervisor } from "../service/index.ts";
import { commandNode, type Command } from "./command.ts";
import { defineOptions, type Config } from "./options.ts";
import {
  openServices,
  requireRights,
  serviceMeant,
  serviceOptions,
  servicesMeant,
} from "./service-shared.ts";
import { onOff } from "./value-kinds.ts";

const uninstallOptions = defineOptions({
  ...serviceOptions,
  purge: {
    kind: "switch",
    default: "false",
    inFile: false,
    help: "Remove the relay's data as well: keys, usage, certificates",
    schema: onOff,
  },
});

type UninstallConfig = Config<typeof uninstallOptions>;

/** What an installation that broke off, or an uninstallation that kept the data, has left. */
function leftOver(
  { kind, name, user, purge }: UninstallConfig,
  supervisor: Supervisor,
  machine: Machine,
): ServiceId | undefined {
  if (kind === undefined || (kind === "worker" && name === undefined)) return undefined;
  const id: ServiceId = { kind, name, scope: user ? "user" : "system" };
  const { files, data } = supervisor.removal(id);
  return [...files, ...(purge ? data : [])].some((path) => machine.exists(path)) ? id : undefined;
}

export const uninstallCommand: Command<typeof uninstallOptions> = {
  name: "service uninstall",
  summary: "Stops a service and removes what service install has made; data stays unless --purge is given",
  examples: [
    {
      line: "sudo modelrelay service uninstall serve",
      does: "The keys and certificates stay in /var/lib/modelrelay",
    },
    { line: "sudo modelrelay service uninstall serve --purge", does: "Nothing stays" },
  ],
  options: uninstallOptions,
  readsEnvironment: false,
  async run(config, { terminal }) {
    const { machine, supervisor } = await openServices(terminal);
    const found = await servicesMeant(supervisor, config);
    const left = found.length === 0 ? leftOver(config, supervisor, machine) : undefined;
    const id = left ?? (await serviceMeant(supervisor, config, "uninstall"));
    const unit = supervisor.unitName(id);
    await requireRights(supervisor, id.scope, `uninstall ${unit}`);
    const definition = supervisor.definition(id);
    if (left === undefined && !supervisor.isOurs(id)) {
      throw new Problem(
        `Cannot uninstall ${unit}: modelrelay service install has not written it (${machine.exists(definition) ? definition : "its file is elsewhere"})`,
        { action: `Stop it and remove its file with what placed it there` },
      );
    }
    await uninstall(id, supervisor, {
      machine,
      purge: config.purge,
      tell: (line) => terminal.err(`${line}\n`),
    });
    await terminal.out(`${unit}: uninstalled\n`);
    return 0;
  },
};

export const uninstallNode = commandNode(uninstallCommand);
