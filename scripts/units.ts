import { join } from "node:path";
import { STEPS, unitText, type UnitSettings } from "../src/service/systemd-unit.ts";

// bun scripts/units.ts: writes the units in systemd/, for those who place files themselves, from the text
// that `modelrelay service install` uses as well.

const ROOT = join(import.meta.dir, "..");

const COMMON = {
  scope: "system",
  executable: "/usr/local/bin/modelrelay",
  args: [],
  configDir: "/etc/modelrelay",
} satisfies Partial<UnitSettings>;

const SERVE_HEAD = `# The relay, for those who place files themselves; others use: modelrelay service install serve
# To be copied to /etc/systemd/system. It runs as the user modelrelay, which modelrelay.sysusers makes:
# copy that to /usr/lib/sysusers.d/modelrelay.conf and run systemd-sysusers.
# Settings stand as variables in /etc/modelrelay/serve.env (mode 0600): docs/settings.md lists them.`;

const WORKER_HEAD = `# A worker, for those who place files themselves; others use: modelrelay service install worker
# To be copied to /etc/systemd/system and started as modelrelay-worker@NAME, NAME being the worker's name.
# Settings stand as variables in /etc/modelrelay/worker.env (mode 0600), for all workers of the machine, and
# in worker-NAME.env beside it: docs/settings.md lists them. PROXY_URL and WORKER_SECRET are needed.`;

const SYSUSERS = `# The user of modelrelay.service: to be copied to /usr/lib/sysusers.d/modelrelay.conf.
u modelrelay - "modelrelay relay" /var/lib/modelrelay
`;

const BACKOFF = `# Longer waits before each restart, up to a minute: for systemd 254 and later, which know these keys.
# To be copied to /etc/systemd/system/modelrelay.service.d and modelrelay-worker@.service.d.
[Service]
${STEPS.join("\n")}
`;

/** The files of systemd/, by their names. */
export const UNIT_FILES: Readonly<Record<string, string>> = {
  "modelrelay.service": unitText({ ...COMMON, kind: "serve", head: SERVE_HEAD }),
  "modelrelay-worker@.service": unitText({ ...COMMON, kind: "worker", head: WORKER_HEAD }),
  "modelrelay-restart.conf": BACKOFF,
  "modelrelay.sysusers": SYSUSERS,
};

if (import.meta.main) {
  for (const [name, text] of Object.entries(UNIT_FILES)) await Bun.write(join(ROOT, "systemd", name), text);
}
