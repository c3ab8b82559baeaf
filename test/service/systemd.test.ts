import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { lacksPart } from "../support/parts.ts";
import { BootedDebian } from "./booted.ts";

const UNIT = "modelrelay.service";

/** What a test that failed half way may have left. */
const CLEAN = `systemctl disable --now modelrelay 'modelrelay-worker@*'; userdel modelrelay
loginctl disable-linger ada; systemctl stop user@$(id -u ada); userdel --remove ada
rm -rf /etc/modelrelay /var/lib/modelrelay /srv/* /usr/lib/sysusers.d/modelrelay.conf
find /etc/systemd/system /run/systemd/system -name '*modelrelay*' -exec rm -rf {} +
systemctl daemon-reload; systemctl reset-failed`;

const cannotBoot = process.getuid?.() !== 0 || lacksPart("systemdRoot", "nspawn");

describe.skipIf(cannotBoot)("On a machine that systemd runs", () => {
  let debian: BootedDebian;
  beforeAll(async () => {
    debian = await BootedDebian.start();
  }, 60_000);
  afterEach(async () => {
    await debian.sh("rm -rf /run/systemd/system/modelrelay*; systemctl daemon-reload");
    if ((await files()) !== "") await debian.sh(CLEAN);
  });
  afterAll(() => debian[Symbol.asyncDispose]());

  const service = (...args: string[]) => debian.modelrelay("service", ...args);
  /** Changes what the relay's unit says, until the end of the test. */
  const overrule = (lines: string) =>
    debian.sh(
      `mkdir -p /run/systemd/system/${UNIT}.d; printf '[Service]\\n${lines}\\n' > /run/systemd/system/${UNIT}.d/sooner.conf`,
    );
  const files = () =>
    debian.sh(
      "find /etc /var/lib /home /root -xdev -newer /etc/hostname \\( -name '*modelrelay*' -o -path '*modelrelay*' \\) | sort",
    );

  test("serve is installed as a user of its own, serves, and leaves nothing behind", async () => {
    expect(await service("status")).toEqual({
      stdout: "",
      stderr: "There is no such service on this machine; make one with: modelrelay service install\n",
      code: 1,
    });
    const secret = `a "secret' with $HOME, \`backticks\`, a \\ and % in it`;
    const installed = await service("install", "serve", "--", "--tls-self-signed", "--worker-secret", secret);
    expect(installed.stdout).toMatch(/^modelrelay\.service: Listens on https:\/\/\S+\n$/);
    expect(installed.code).toBe(0);
    expect(installed.stderr).toContain("Made the user modelrelay, which nobody can log in as\n");
    expect(installed.stderr).toMatch(
      /^Clients use base URL \S+ and the API key in \/var\/lib\/modelrelay\/api-key$/m,
    );

    // It is reached, on a port below 1024, and has the secret as it was given.
    expect(await debian.sh("curl -sk https://127.0.0.1/livez")).toBe('{"status":"ok"}');
    const [pid] = await debian.show(UNIT, "MainPID");
    const environ = await debian.sh(`tr '\\0' '\\n' < /proc/${pid}/environ`);
    expect(environ.split("\n")).toContain(`WORKER_SECRET=${secret}`);
    expect(await debian.sh("systemctl cat modelrelay.service")).not.toContain("secret'");
    expect(await debian.sh("stat -c '%a %U %n' /etc/modelrelay/serve.env /var/lib/modelrelay")).toBe(
      "600 root /etc/modelrelay/serve.env\n700 modelrelay /var/lib/modelrelay",
    );

    // It runs as that user, with one right of the superuser and many files.
    const status = await debian.sh(`cat /proc/${pid}/status /proc/${pid}/limits`);
    const uid = await debian.sh("id -u modelrelay");
    expect(status).toMatch(new RegExp(`^Uid:\\s+${uid}\\s+${uid}\\s+${uid}\\s+${uid}$`, "m"));
    expect(status).toMatch(/^CapEff:\s+0000000000000400$/m);
    expect(status).toMatch(/^CapBnd:\s+0000000000000400$/m);
    expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
    // As many as the machine of this test may grant.
    expect(status).toMatch(/^Max open files\s+(\d{5,})\s+\1 /m);

    const { stdout } = await service("status", "--json");
    expect(JSON.parse(stdout)).toEqual({
      services: [
        {
          service: "serve",
          name: null,
          scope: "system",
          unit: UNIT,
          state: "running",
          pid: Number(pid),
          since: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/) as string,
          restarts: 0,
          status: expect.stringMatching(/^Listens on https:/) as string,
          enabled: true,
          changed: false,
        },
      ],
    });

    const kept = await service("uninstall");
    expect({ code: kept.code, stdout: kept.stdout }).toEqual({ code: 0, stdout: `${UNIT}: uninstalled\n` });
    expect(kept.stderr).toContain("Kept /var/lib/modelrelay; --purge removes it as well\n");
    expect(await debian.sh("id -un modelrelay; curl -sk https://127.0.0.1/livez || echo gone")).toBe(
      "modelrelay\ngone",
    );
    expect((await service("uninstall", "serve", "--purge")).stderr).toContain(
      "Removed the user modelrelay\n",
    );
    expect(await files()).toBe("");
    expect(await debian.sh("id -u modelrelay")).toContain("no such user");
    expect(await debian.show(UNIT, "LoadState", "ActiveState")).toEqual(["not-found", "inactive"]);
  });

  test("a restart hands over to a new process, and no request is refused meanwhile", async () => {
    await overrule("RestartSec=100ms");
    expect((await service("install", "serve", "--", "--listen", "127.0.0.1:8080")).code).toBe(0);
    const [before] = await debian.show(UNIT, "MainPID");
    // One request after the other, until the file goes.
    await using asking = debian.start([
      "sh",
      "-c",
      "touch /tmp/asking; while [ -e /tmp/asking ]; do curl -s -o /dev/null -w '%{http_code}\\n' http://127.0.0.1:8080/livez; done; echo done",
    ]);
    await asking.until(/200/, "stdout");
    const pids = new Set([before]);
    for (let round = 0; round < 3; round++) {
      const { stdout, code } = await service("restart");
      expect({ stdout, code }).toEqual({ stdout: `${UNIT}: Listens on http://127.0.0.1:8080\n`, code: 0 });
      pids.add((await debian.show(UNIT, "MainPID"))[0]);
    }
    expect(pids.size).toBe(4);
    await debian.sh("rm /tmp/asking");
    await asking.until(/done/, "stdout");
    const answers = asking.stdout.trim().split("\n").slice(0, -1);
    expect(answers.filter((answer) => answer !== "200")).toEqual([]);
    expect(answers.length).toBeGreaterThan(10);
    const [after, active, restarts] = await debian.show(UNIT, "MainPID", "ActiveState", "NRestarts");
    expect({ active, restarts }).toEqual({ active: "active", restarts: "0" });

    // One that dies is replaced by the one before it, as long as that is there.
    const drains = [...pids].at(-2);
    await debian.sh(`kill -KILL ${after}`);
    await debian.untilLogged(/The process that took over was ended by signal SIGKILL: starting another one/);
    await debian.untilLogged(new RegExp(`Everything that ran here has ended pid=${drains}\n`));
    const [last, stillActive, stillNone] = await debian.show(UNIT, "MainPID", "ActiveState", "NRestarts");
    expect({ stillActive, stillNone, isNew: !pids.has(last) }).toEqual({
      stillActive: "active",
      stillNone: "0",
      isNew: true,
    });
    await service("uninstall", "serve", "--purge");
    expect(await files()).toBe("");
  });

  test("a relay whose event loop stands still is started again", async () => {
    await overrule(String.raw`WatchdogSec=1s\nRestartSec=100ms`);
    expect((await service("install", "serve", "--", "--listen", "127.0.0.1:8080")).code).toBe(0);
    const [pid] = await debian.show(UNIT, "MainPID");
    await debian.sh(`kill -STOP ${pid}`);
    await debian.untilLogged(/Watchdog timeout \(limit 1s\)!/);
    await debian.untilLogged(/Failed with result 'watchdog'/);
    await debian.untilLogged(/Scheduled restart job, restart counter is at 1/);
    await service("uninstall", "serve", "--purge");
  });

  test("two workers are services beside each other, each a user of its own that keeps nothing", async () => {
    expect((await service("install", "serve", "--", "--listen", "127.0.0.1:8080")).code).toBe(0);
    const relay = ["--", "--proxy-url", "http://127.0.0.1:8080", "--backend-url", "http://127.0.0.1:1"];
    const file = ["--worker-secret-file", "/var/lib/modelrelay/worker-secret"];
    const first = await service("install", "worker", "first", ...relay, ...file);
    expect(first.stderr).toContain("was copied for the service");
    expect(first.stdout).toMatch(/^modelrelay-worker@first\.service: Connected to 127\.0\.0\.1:8080/);
    // The second takes the name from its own flag, with all that means something to systemd.
    const oddName = String.raw`GPU box 2 "%n" $HOME \ ;`;
    const second = await service("install", "worker", ...relay, ...file, "--worker-name", oddName);
    expect(second.stdout).toMatch(/^modelrelay-worker@GPU-box-2-n-HOME\.service: Connected/);
    const health = JSON.parse(await debian.sh("curl -s http://127.0.0.1:8080/health")) as {
      workers: { name: string }[];
    };
    expect(health.workers.map((worker) => worker.name).sort()).toEqual([oddName, "first"]);

    const which = await service("logs", "worker");
    expect(which.stderr).toBe(
      "error: Cannot tell which of 2 services is meant\n  → Write one of: modelrelay service logs worker first; modelrelay service logs worker GPU-box-2-n-HOME\n",
    );
    expect((await service("logs", "worker", "first")).stdout).toContain("Connected to the relay");
    const table = await service("status");
    expect(table.stdout.split("\n").map((line) => line.split(/\s+/).slice(0, 3))).toEqual([
      ["SERVICE", "NAME", "OF"],
      ["serve", "-", "system"],
      ["worker", "first", "system"],
      ["worker", "GPU-box-2-n-HOME", "system"],
      [""],
    ]);
    const restarted = await service("restart", "worker", "first");
    expect(restarted.stdout).toMatch(/^modelrelay-worker@first\.service: Connected/);

    for (const name of ["first", "GPU-box-2-n-HOME"])
      expect((await service("uninstall", "worker", name)).code).toBe(0);
    expect((await service("uninstall", "serve", "--purge")).code).toBe(0);
    expect(await files()).toBe("");
  });

  test("the units for those who place files themselves do their work", async () => {
    const { UNIT_FILES } = await import("../../scripts/units.ts");
    const place = (path: string, text = "") =>
      debian.run(
        ["sh", "-c", `mkdir -p "$(dirname '${path}')"; printf %s "$TEXT" > '${path}'; chmod 600 '${path}'`],
        {
          TEXT: text,
        },
      );
    for (const name of [UNIT, "modelrelay-worker@.service"])
      await place(`/etc/systemd/system/${name}`, UNIT_FILES[name]);
    await place("/usr/lib/sysusers.d/modelrelay.conf", UNIT_FILES["modelrelay.sysusers"]);
    await place("/etc/modelrelay/serve.env", "LISTEN_ADDR=127.0.0.1:8181\nWORKER_SECRET='one secret'\n");
    await place("/etc/modelrelay/worker.env", "PROXY_URL=http://127.0.0.1:1\nWORKER_SECRET='one secret'\n");
    await place("/etc/modelrelay/worker-gpu-1.env", "PROXY_URL=http://127.0.0.1:8181\n");
    expect(await debian.sh("systemd-sysusers && systemctl daemon-reload")).toContain(
      "Creating user 'modelrelay'",
    );
    expect(await debian.sh("systemctl start modelrelay modelrelay-worker@gpu-1")).toBe("");
    await debian.untilLogged(/Connected to the relay relay=127\.0\.0\.1:8181/);
    expect(await debian.sh("curl -s http://127.0.0.1:8181/health")).toContain('"gpu-1"');

    // They are seen, and are not for uninstall to remove.
    const { stdout } = await service("status");
    expect(stdout).toMatch(/^worker +gpu-1 .*Connected to 127\.0\.0\.1:8181/m);
    const refused = await service("uninstall", "serve");
    expect(refused.stderr).toStartWith(
      "error: Cannot uninstall modelrelay.service: modelrelay service install has not written it",
    );
    expect(refused.code).toBe(1);
    await debian.sh(
      "systemctl stop modelrelay 'modelrelay-worker@*'; userdel modelrelay; rm -r /etc/modelrelay /var/lib/modelrelay /usr/lib/sysusers.d/modelrelay.conf /etc/systemd/system/modelrelay*; systemctl daemon-reload",
    );
    expect(await files()).toBe("");
  });

  test("what cannot start is told with the end of its log", async () => {
    const address = "203.0.113.9:8080";
    const { stderr, code, stdout } = await service("install", "serve", "--", "--listen", address);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    // The port is looked at beforehand, and nothing was written.
    expect(stderr).toContain(
      `Cannot have the service listen on ${address} (--listen): this machine has no such address`,
    );
    expect(await files()).toBe("");

    // What only shows when it runs as the other user.
    await debian.sh("mkdir -m 700 /srv/certs; touch /srv/certs/cert.pem /srv/certs/key.pem");
    const pair = ["--tls-cert", "/srv/certs/cert.pem", "--tls-key", "/srv/certs/key.pem"];
    const failed = await service("install", "serve", "--", ...pair);
    expect(failed.code).toBe(1);
    expect(failed.stderr).toMatch(
      /^The last lines of its log:\n(?: {2}.+\n)*? {2}.*\/srv\/certs\/cert\.pem/m,
    );
    expect(failed.stderr).toMatch(
      /^error: Cannot see modelrelay\.service serve after \d+ s: it (has failed|ended by itself)/m,
    );
    await service("uninstall", "serve", "--purge");
    expect(await files()).toBe("");
  });

  test("a port that another program has is told before anything is written", async () => {
    await using other = debian.start(["modelrelay", "demo", "--listen", "127.0.0.1:8282"]);
    await other.until(/8282/, "stdout");
    const { stderr, code } = await service("install", "serve", "--", "--listen", "127.0.0.1:8282");
    expect(stderr).toMatch(
      /^error: Cannot have the service listen on 127\.0\.0\.1:8282 \(--listen\): held by /,
    );
    expect(code).toBe(1);
    expect(await files()).toBe("");
  });

  test("a user of that name who is a person is left alone", async () => {
    await debian.sh("useradd --uid 1234 --no-create-home modelrelay");
    const { stderr, code } = await service("install", "serve", "--", "--listen", "127.0.0.1:8080");
    expect(stderr).toStartWith(
      "error: Cannot run the service as the user modelrelay: there is one already, who is no user of the system (number 1234)\n",
    );
    expect(code).toBe(1);
    await debian.sh("userdel modelrelay");
    expect(await files()).toBe("");
  });

  test("another directory for the data is made for the service, written to, and removed with it", async () => {
    const install = ["install", "serve", "--", "--listen", "127.0.0.1:8080", "--data-dir"];
    const hidden = await service(...install, "/home/relay");
    expect(hidden.stderr).toStartWith(
      'error: Cannot use "/home/relay" (flag --data-dir) for a service of the system: it sees nothing there\n',
    );
    expect(hidden.code).toBe(2);
    const foreign = await service(...install, "/etc");
    expect([foreign.code, await debian.sh("stat -c '%a %U' /etc")]).toEqual([2, "755 root"]);
    expect((await service(...install, "/srv/relay data")).code).toBe(0);
    expect(await debian.sh("stat -c '%a %U' '/srv/relay data' '/srv/relay data/modelrelay.db'")).toBe(
      "700 modelrelay\n600 modelrelay",
    );
    expect((await service("uninstall", "serve", "--purge")).code).toBe(0);
    expect(await debian.sh("ls -A /srv | grep relay")).toBe("");
    expect(await files()).toBe("");
  });

  test("who is not the superuser is told how, and has services of their own", async () => {
    await debian.sh("useradd --create-home ada");
    const asAda = (...args: string[]) =>
      debian.run(
        ["setpriv", "--reuid=ada", "--regid=ada", "--init-groups", "modelrelay", "service", ...args],
        { HOME: "/home/ada" },
      );
    const listen = ["--", "--listen", "127.0.0.1:8383"];
    expect(await asAda("install", "serve", ...listen)).toEqual({
      stdout: "",
      stderr:
        "error: Cannot install a service: only the superuser may change services of the system\n  → Put sudo before the command, or add --user for a service of your own\n",
      code: 1,
    });
    const unreachable = await asAda("install", "serve", "--user", ...listen);
    expect(unreachable.stderr).toMatch(
      /^error: Cannot install a service: the manager of services of the user ada does not answer \(.+\)\n {2}→ .*sudo loginctl enable-linger ada\n$/,
    );
    await debian.sh("loginctl enable-linger ada && systemctl start user@$(id -u ada)");
    const installed = await asAda("install", "serve", "--user", ...listen, "--admin-token", "for-operators");
    expect(installed.stdout).toBe("modelrelay.service: Listens on http://127.0.0.1:8383\n");
    expect(await debian.sh("stat -c '%a %U' /home/ada/.config/modelrelay/serve.env")).toBe("600 ada");
    expect(await debian.sh("curl -s http://127.0.0.1:8383/livez")).toBe('{"status":"ok"}');
    const restarted = await asAda("restart");
    expect(restarted.stdout).toBe("modelrelay.service: Listens on http://127.0.0.1:8383\n");
    expect((await asAda("status")).stdout).toMatch(/^serve +- +user +\d+ .*Listens on/m);
    expect((await asAda("logs", "--lines", "50")).stdout).toContain("The relay listens");
    expect((await asAda("uninstall", "--purge")).code).toBe(0);
    expect(await debian.sh("find /home/ada -name '*modelrelay*'")).toBe("");
    await debian.sh("loginctl disable-linger ada; systemctl stop user@$(id -u ada); userdel --remove ada");
  });

  test("a second installation is refused, unless it is to replace the first", async () => {
    const install = ["install", "serve"];
    const rest = ["--", "--listen", "127.0.0.1:8080"];
    expect((await service(...install, ...rest, "--admin-token", "kept")).code).toBe(0);
    const again = await service(...install, ...rest);
    expect(again.stderr).toBe(
      "error: Cannot install modelrelay.service: /etc/systemd/system/modelrelay.service is there already\n  → Add --replace to write it anew\n",
    );
    const replaced = await service(...install, "--replace", "--", "--listen", "127.0.0.1:8484");
    expect(replaced.stdout).toBe("modelrelay.service: Listens on http://127.0.0.1:8484\n");
    // A secret that is not given again stays.
    expect(await debian.sh("cat /etc/modelrelay/serve.env")).toContain("\nMODELRELAY_ADMIN_TOKEN=kept");
    await service("uninstall", "--purge");
    expect(await files()).toBe("");
  });
});
