import type { ServiceId, ServiceState } from "../service/index.ts";
import { commandNode, type Command } from "./command.ts";
import { EXIT } from "./failure.ts";
import { defineOptions } from "./options.ts";
import { openServices, serviceOptions, servicesMeant, stateText } from "./service-shared.ts";
import { jsonOption } from "./shared-options.ts";
import { tableText, timeText } from "./table-text.ts";

const statusOptions = defineOptions({
  kind: { ...serviceOptions.kind, defaultText: "all" },
  name: { ...serviceOptions.name, defaultText: "all" },
  user: { ...serviceOptions.user, help: "Only services of this user, none of the machine" },
  json: jsonOption,
});

interface Found {
  id: ServiceId;
  unit: string;
  state: ServiceState;
}

function asJson({ id, unit, state }: Found): object {
  return {
    service: id.kind,
    name: id.name ?? null,
    scope: id.scope,
    unit,
    state: state.state,
    pid: state.pid ?? null,
    since: state.since ?? null,
    restarts: state.restarts ?? null,
    status: state.status,
    enabled: state.enabled,
    changed: state.changed,
  };
}

function asTable(found: readonly Found[]): string {
  const head = ["SERVICE", "NAME", "OF", "PID", "SINCE", "RESTARTS", "AT START", "STATE"];
  const rows = found.map(({ id, state }) => [
    id.kind,
    id.name ?? "-",
    id.scope,
    state.pid === undefined ? "-" : String(state.pid),
    timeText(state.since ?? null, "-"),
    state.restarts === undefined ? "-" : String(state.restarts),
    state.enabled ? "yes" : "no",
    `${stateText(state)}${state.changed ? "; what is written has changed since" : ""}`,
  ]);
  return tableText([head, ...rows]);
}

export const statusCommand: Command<typeof statusOptions> = {
  name: "service status",
  summary: "Shows the services of this machine and how they are; exit code 1 if one does not serve",
  examples: [
    { line: "modelrelay service status", does: "The relay and the workers that are services here" },
    { line: "modelrelay service status worker gpu-box --json", does: "One of them, for a program" },
  ],
  options: statusOptions,
  readsEnvironment: false,
  async run(config, { terminal }) {
    const { supervisor } = await openServices(terminal);
    const ids = await servicesMeant(supervisor, config);
    const found = await Promise.all(
      ids.map(async (id) => ({ id, unit: supervisor.unitName(id), state: await supervisor.state(id) })),
    );
    if (config.json) await terminal.out(`${JSON.stringify({ services: found.map(asJson) }, null, 2)}\n`);
    else if (found.length > 0) await terminal.out(asTable(found));
    else
      terminal.err("There is no such service on this machine; make one with: modelrelay service install\n");
    return found.length > 0 && found.every(({ state }) => state.state === "running") ? 0 : EXIT.failed;
  },
};

export const statusNode = commandNode(statusCommand);
