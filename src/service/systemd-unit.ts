import { unitCommand, unitPath, unitRest } from "./systemd-quote.ts";

// The units, for those that `service install` writes and for the files in systemd/: one text.

/** Says in a unit who wrote it. */
export const WRITTEN_BY = "# Written by modelrelay service install; modelrelay service uninstall removes it.";

export interface UnitSettings {
  kind: "serve" | "worker";
  /** Whose manager runs it: that of the system, or that of one user. */
  scope: "system" | "user";
  executable: string;
  /** What follows `serve` or `worker` on the command line. */
  args: readonly string[];
  /** Folder of the environment files. */
  configDir: string;
  /** Directories that it writes to beside its own, which the unit would forbid. */
  writable?: readonly string[];
  /** Version of the systemd that is to read it; the files for everybody know of none. */
  version?: number;
  /** Text of the first lines. */
  head: string;
}

/** The first systemd that waits longer before each restart (RestartSteps=). */
const HAS_STEPS = 254;
export const STEPS = ["RestartSec=1s", "RestartSteps=8", "RestartMaxDelaySec=1min"];

/** The unit of the relay, or that of a worker, whose instance is the worker's name. */
export function unitText(settings: UnitSettings): string {
  const { kind, scope, head } = settings;
  return `${head}

[Unit]
Description=${kind === "serve" ? "modelrelay: the relay" : "modelrelay: worker %i"}
Wants=network-online.target
After=network-online.target
# Whatever the reason, it is tried again and again.
StartLimitIntervalSec=0

[Service]
Type=notify
${kind === "serve" ? "# A successor says that it is the main process.\nNotifyAccess=all" : "NotifyAccess=main"}
${executionLines(settings)}
UnsetEnvironment=BUN_OPTIONS BUN_BE_BUN
WorkingDirectory=/
${restartLines(settings)}
WatchdogSec=30s
# One that stands still has nothing to say at its end.
WatchdogSignal=SIGKILL
TimeoutStartSec=2min
# Longer than requests get to finish; the service asks for more where --drain-timeout is longer.
TimeoutStopSec=1min
${scope === "system" ? `${userLines(settings)}\n` : ""}
# A socket for each client, worker and stream.
LimitNOFILE=1048576
# What a crash leaves behind would hold secrets.
LimitCORE=0
UMask=0077

${(scope === "system" ? systemSandbox(settings) : commonSandbox()).join("\n")}

[Install]
WantedBy=${scope === "system" ? "multi-user.target" : "default.target"}
`;
}

function executionLines({ kind, executable, args, configDir }: UnitSettings): string {
  const start = `ExecStart=${unitCommand([executable, kind, ...args])}`;
  const environment = `EnvironmentFile=-${unitRest(configDir)}`;
  if (kind === "serve") {
    return [
      start,
      "# A successor takes over the port, and the one that ran finishes its requests.",
      "ExecReload=/bin/kill -USR2 $MAINPID",
      `${environment}/serve.env`,
    ].join("\n");
  }
  return [
    "Environment=WORKER_NAME=%i",
    start,
    "# What all workers of this machine have in common, then what this one has of its own.",
    `${environment}/worker.env`,
    `${environment}/worker-%i.env`,
  ].join("\n");
}

function restartLines({ kind, version }: UnitSettings): string {
  const lines = [
    ...(kind === "serve"
      ? ["# Also where it ended well: a relay whose successor died ends when it has finished."]
      : []),
    "Restart=always",
    "# Settings that are wrong do not mend themselves.",
    "RestartPreventExitStatus=2",
  ];
  if (version === undefined || version < HAS_STEPS) return [...lines, "RestartSec=5s"].join("\n");
  return [...lines, ...STEPS].join("\n");
}

function userLines({ kind, writable = [] }: UnitSettings): string {
  if (kind === "worker")
    return "\n# A user of its own, which exists while the worker runs: it keeps nothing.\nDynamicUser=yes";
  const state = [
    "# /var/lib/modelrelay, which nobody else reads.",
    "StateDirectory=modelrelay",
    "StateDirectoryMode=0700",
  ];
  return ["", "User=modelrelay", "Group=modelrelay", ...(writable.length === 0 ? state : [])].join("\n");
}

/** What no service of a system needs; `systemd-analyze security` counts it. */
function systemSandbox({ kind, writable = [] }: UnitSettings): string[] {
  const capabilities =
    kind === "serve"
      ? [
          "# Ports below 1024, and nothing else that the superuser may do.",
          "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
          "AmbientCapabilities=CAP_NET_BIND_SERVICE",
        ]
      : ["CapabilityBoundingSet=", "AmbientCapabilities=", "PrivateUsers=yes"];
  return [
    ...capabilities,
    ...commonSandbox(),
    "ProtectSystem=strict",
    ...writable.map((path) => `ReadWritePaths=${unitPath(path)}`),
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "PrivateMounts=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "ProcSubset=pid",
    "RemoveIPC=yes",
  ];
}

/** What a user's manager, too, can take away, without more rights than the user has. */
function commonSandbox(): string[] {
  return [
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "# The runtime compiles JavaScript to machine code while it runs.",
    "MemoryDenyWriteExecute=no",
    "# AF_NETLINK: the addresses of this machine are asked for.",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "SystemCallErrorNumber=EPERM",
  ];
}
