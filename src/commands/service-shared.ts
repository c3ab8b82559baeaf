import { Problem, UsageError } from "../base/errors.ts";
import { oneLine } from "../base/one-line.ts";
import {
  serviceTitle,
  supervisorOf,
  thisMachine,
  usualSupervisor,
  SERVICE_KINDS,
  type Machine,
  type Scope,
  type ServiceId,
  type ServiceKind,
  type ServiceState,
  type Supervisor,
} from "../service/index.ts";
import { homeOfUser, type Terminal } from "./command.ts";
import { defineOptions, type OptionSpec } from "./options.ts";
import { duration, oneOf, onOff, textKind } from "./value-kinds.ts";

/** What the file of a unit can be called, without a sign that another program would take for its own. */
const NAME = /^[A-Za-z0-9][\w.-]{0,62}$/;

/** Which service is meant, the same for every command. */
export const serviceOptions = defineOptions({
  kind: {
    operand: true,
    inFile: false,
    hint: "SERVICE",
    help: "serve or worker",
    defaultText: "the only one that there is",
    schema: oneOf(SERVICE_KINDS),
  },
  name: {
    operand: true,
    inFile: false,
    hint: "NAME",
    help: "Name of the worker; a machine can have several",
    defaultText: "the only one that there is",
    schema: textKind("letters, digits, dots, dashes and underscores, 63 at most", (text) =>
      NAME.test(text) ? text : undefined,
    ),
  },
  user: {
    kind: "switch",
    default: "false",
    inFile: false,
    help: "A service of this user alone, rather than of the machine",
    schema: onOff,
  },
});

/** For commands that start a service. */
export const waitOption = {
  flag: "wait",
  default: "60s",
  inFile: false,
  hint: "DURATION",
  help: "Longest wait for the service to serve",
  schema: duration,
} as const satisfies OptionSpec;

export interface Meant {
  kind: ServiceKind | undefined;
  name: string | undefined;
  user: boolean;
}

/** A worker's name as a service can have it: other signs become dashes. */
export function plainName(name: string): string {
  const plain = name
    .replace(/[^\w.-]+/g, "-")
    .slice(0, 63)
    .replace(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, "");
  return plain || "worker";
}

export function machineOf({ env }: Terminal): Machine {
  const uid = process.getuid?.();
  // After su there is a manager of the user's services, and no variable that says where.
  const runtime = env["XDG_RUNTIME_DIR"] ?? (uid === undefined ? undefined : `/run/user/${uid}`);
  return thisMachine({
    env: { ...env, XDG_RUNTIME_DIR: runtime },
    home: homeOfUser(),
  });
}

/** This machine, and what keeps services alive on it. */
export async function openServices(
  terminal: Terminal,
): Promise<{ machine: Machine; supervisor: Supervisor }> {
  const machine = machineOf(terminal);
  return { machine, supervisor: await supervisorOf(usualSupervisor(machine.platform), machine) };
}

/** Every service here that is meant. */
export async function servicesMeant(
  supervisor: Supervisor,
  { kind, name, user }: Meant,
): Promise<ServiceId[]> {
  const scopes: Scope[] = user ? ["user"] : ["system", "user"];
  const found = (await Promise.all(scopes.map((scope) => supervisor.installed(scope)))).flat();
  return found
    .filter((id) => (kind ?? id.kind) === id.kind && (name === undefined || id.name === name))
    .sort((a, b) => serviceTitle(a).localeCompare(serviceTitle(b)));
}

/**
 * The one service that is meant.
 *
 * @throws {Problem} if there is none, or more than one
 */
export async function serviceMeant(
  supervisor: Supervisor,
  meant: Meant,
  command: string,
): Promise<ServiceId> {
  const found = await servicesMeant(supervisor, meant);
  const [only, another] = found;
  if (only === undefined) {
    const wanted =
      meant.kind === undefined ? "" : ` ${serviceTitle({ ...meant, kind: meant.kind, scope: "system" })}`;
    throw new Problem(`Cannot find a service${wanted} on this machine`, {
      action: `See what there is with: modelrelay service status; make one with: modelrelay service install ${meant.kind ?? "serve"}`,
    });
  }
  if (another === undefined) return only;
  const commands = found.map(
    (id) => `modelrelay service ${command} ${serviceTitle(id)}${id.scope === "user" ? " --user" : ""}`,
  );
  throw new UsageError(`Cannot tell which of ${found.length} services is meant`, {
    action: `Write one of: ${commands.join("; ")}`,
  });
}

/** @throws {Problem} if services of its scope cannot be changed here */
export async function requireRights(supervisor: Supervisor, scope: Scope, what: string): Promise<void> {
  const obstacle = await supervisor.obstacle(scope);
  if (obstacle !== undefined)
    throw new Problem(`Cannot ${what}: ${obstacle.why}`, { action: obstacle.action });
}

/** Of a line of a log. */
const MAX_LINE = 2_000;

/** The last lines that a service wrote since its last start; none where they cannot be read. */
export async function lastLines(
  { machine, supervisor }: { machine: Machine; supervisor: Supervisor },
  id: ServiceId,
  { start, lines }: { start: string | undefined; lines: number },
): Promise<string[]> {
  const { stdout } = await machine.run(supervisor.logCommand(id, { lines, start }));
  return stdout
    .trimEnd()
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => oneLine(line, MAX_LINE));
}

/** What a service does, in a few words. */
export function stateText({ state, status: told }: Pick<ServiceState, "state" | "status">): string {
  const status = oneLine(told);
  if (state === "running" && status !== "") return status;
  if (state === "waiting") return status;
  const words: Record<ServiceState["state"], string> = {
    running: "runs",
    waiting: "waits",
    starting: "is starting",
    restarting: "ended by itself and is started again after a while",
    stopping: "is ending",
    stopped: "does not run",
    failed: "has failed",
  };
  return status === "" ? words[state] : `${words[state]} (${status})`;
}
