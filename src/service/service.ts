/** What can be a service: the relay of a machine, and its workers. */
export const SERVICE_KINDS = ["serve", "worker"] as const;
export type ServiceKind = (typeof SERVICE_KINDS)[number];

/** Whose it is: the machine's, which runs from its start, or one user's. */
export type Scope = "system" | "user";

export interface ServiceId {
  kind: ServiceKind;
  /** Of a worker; a machine has one relay. */
  name: string | undefined;
  scope: Scope;
}

/** A secret that the service is started with. */
export interface ServiceSecret {
  /** Variable that it is read from. */
  variable: string;
  /** Flag that names a file of it, with dashes. */
  fileFlag: string;
  value: string;
}

/** What is to be installed. */
export interface ServiceSpec extends ServiceId {
  executable: string;
  /** What follows `serve` or `worker`; no secret is among it. */
  args: readonly string[];
  secrets: readonly ServiceSecret[];
  /** Where the relay keeps its state, if not in the usual place. */
  dataDir: string | undefined;
}

export interface PlannedFile {
  path: string;
  content: string | Uint8Array;
  mode: number;
  /** Its values are not shown. */
  isSecret?: true;
  /** User that it belongs to, if not the one who installs. */
  owner?: string;
}

export interface PlannedDirectory {
  path: string;
  mode: number;
  /** User that it belongs to, if not the one who installs. */
  owner?: string;
}

export interface Step {
  command: readonly string[];
  /** What is told if it fails, which is no reason to give up then. */
  otherwise?: string;
}

/** What an installation does, in this order. */
export interface Plan {
  /** A user of the system to be made for it, if there is none of this name. */
  user?: { name: string; home: string; about: string };
  directories: readonly PlannedDirectory[];
  files: readonly PlannedFile[];
  /** They make it known and start it. */
  steps: readonly Step[];
}

/** What an uninstallation does, in this order. */
export interface Removal {
  /** Command lines that stop it; that it is gone already is no failure of theirs. */
  before: readonly (readonly string[])[];
  files: readonly string[];
  after: readonly (readonly string[])[];
  /** Directories that go when nothing is left in them. */
  emptied: readonly string[];
  /** Directories of its data, which stay unless they are asked to go. */
  data: readonly string[];
  /** User that goes with the data, if it was made for the service. */
  user?: { name: string; about: string };
}

export type RunState =
  | "running"
  /** It runs, and cannot do its work yet: `status` says what it waits for. */
  | "waiting"
  | "starting"
  /** It ended by itself, and is started again after a while. */
  | "restarting"
  | "stopping"
  | "stopped"
  | "failed";

export interface ServiceState {
  state: RunState;
  pid: number | undefined;
  /** When the process was started, ISO 8601. */
  since: string | undefined;
  /** How often it was started again because it had ended by itself; `undefined` where that is not counted. */
  restarts: number | undefined;
  /** What it says of itself. */
  status: string;
  /** Whether it starts with the machine, or with the user's session. */
  enabled: boolean;
  /** Whether what is written differs from what it runs with. */
  changed: boolean;
  /** What its log calls this start; `undefined` where that is not known. */
  start: string | undefined;
}

/** Which part of a log. */
export interface LogLines {
  /** How many of the last lines. */
  lines: number;
  /** Go on with those that come. */
  follow?: boolean;
  /** Only those of one start, where the log knows of starts. */
  start?: string | undefined;
}

/** Why a supervisor cannot be used here, as a sentence after a colon, and what to do. */
export interface Obstacle {
  why: string;
  action: string;
}

/** What keeps services alive on a platform. */
export interface Supervisor {
  /** Whether `restart` hands over from a relay to its successor. */
  readonly handsOver: boolean;
  /** Whether services tell it that they serve; otherwise it knows only that a process runs. */
  readonly hearsReadiness: boolean;
  /** What is in the way of changing services of a scope. */
  obstacle(scope: Scope): Promise<Obstacle | undefined>;
  /** Its own name for a service, as its own tools take it. */
  unitName(id: ServiceId): string;
  plan(spec: ServiceSpec): Plan;
  /** Variables that a service is given by what an earlier installation, or a person, has left for it. */
  variables(id: ServiceId): Record<string, string>;
  /** The file that makes it a service, which tells whether there is one. */
  definition(id: ServiceId): string;
  /** Whether that file was written by an installation. */
  isOurs(id: ServiceId): boolean;
  removal(id: ServiceId): Removal;
  /** Every service of a scope that there is. */
  installed(scope: Scope): Promise<ServiceId[]>;
  state(id: ServiceId): Promise<ServiceState>;
  /** Command lines of a restart. @param cold stop and start, rather than handing over */
  restart(id: ServiceId, cold: boolean): readonly (readonly string[])[];
  logCommand(id: ServiceId, wanted: LogLines): readonly string[];
}

/** Whether a worker's own flags name it, in another way than its service is called. */
export function isNamed(args: readonly string[]): boolean {
  return args.some((arg) => arg.startsWith("--worker-name="));
}

/** The name of a service for people: `serve`, `worker gpu-box`. */
export function serviceTitle({ kind, name }: ServiceId): string {
  return name === undefined ? kind : `${kind} ${name}`;
}
