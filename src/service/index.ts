import { Launchd } from "./launchd.ts";
import type { Machine } from "./machine.ts";
import type { Supervisor } from "./service.ts";
import { Systemd, systemdVersion } from "./systemd.ts";
import { TaskScheduler } from "./task-scheduler.ts";

export { install, runAll, uninstall, type Tell } from "./install.ts";
export { thisMachine, type Machine } from "./machine.ts";
export { waitUntilReady, type Waited } from "./readiness.ts";
export * from "./service.ts";
export { UNQUOTABLE } from "./task-scheduler.ts";

export const SUPERVISORS = ["systemd", "launchd", "windows"] as const;
export type SupervisorName = (typeof SUPERVISORS)[number];

/** What keeps services alive on a platform. */
export function usualSupervisor(platform: NodeJS.Platform): SupervisorName {
  if (platform === "darwin") return "launchd";
  return platform === "win32" ? "windows" : "systemd";
}

export async function supervisorOf(name: SupervisorName, machine: Machine): Promise<Supervisor> {
  switch (name) {
    case "systemd":
      return new Systemd(machine, await systemdVersion(machine));
    case "launchd":
      return new Launchd(machine);
    case "windows":
      return new TaskScheduler(machine);
  }
}
