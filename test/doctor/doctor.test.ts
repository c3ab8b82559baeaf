import { afterAll, describe, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { chmodSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { version } from "../../src/base/build-info.ts";
import { DOCTOR_STEPS } from "../../src/doctor/context.ts";
import { DATABASE_FILE } from "../../src/server/store/store.ts";
import { Program } from "../faults/processes.ts";
import { makeCertificate } from "../support/certificates.ts";
import { connectRawWorker } from "../support/relays.ts";
import { TempDir } from "../commands/reading.ts";
import { doctor, found, onLinux, privateDir, runCli } from "./machine.ts";

const dir = privateDir();
const LISTEN = "--listen=127.0.0.1:0";

afterAll(() => dir[Symbol.dispose]());

/** A certificate that the machine does not trust, and what answers behind it. */
function secureRelay(headers: Record<string, string> = {}) {
  const certificate = makeCertificate({ names: ["127.0.0.1"] });
  return Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: { cert: certificate.chainPem, key: certificate.keyPem },
    fetch: () =>
      Response.json({ version, uptime_secs: 5, ready: true, reasons: [], warnings: [] }, { headers }),
  });
}

describe("modelrelay doctor", () => {
  test("finds a machine well on which a relay runs with a worker, and prints a line for each thing", async () => {
    await using relay = new Program("serve", [LISTEN, "--data-dir", dir.path, "--max-queue-len=7"]);
    const url = await relay.url();
    const worker = await connectRawWorker(url);
    await worker.register(["m"]);
    const { stdout, stderr, code } = await runCli(["doctor", "--data-dir", dir.path]);
    worker.close();
    const lines = stdout
      .split("\n")
      // What this machine is like is no matter of the test.
      .filter(
        (line) => !/^(ok|warn|skip) +(clock|memory|disk)|^ +→ (Turn on the time|Raise|Name a dir)/.test(line),
      )
      .map((line) =>
        line
          .replaceAll(dir.path, "DIR")
          .replaceAll(url, "URL")
          .replaceAll(`process ${relay.pid}`, "process N"),
      )
      .map((line) =>
        line.replace(/\d+ may be open at once, \d+ are/, "N may be").replace(/[\d.]+ (KiB|ms|s\b)/g, "N $1"),
      )
      .map((line) => line.replace(/^(ok +program +).*/, "$1…").replace(/of \S+, mode/, "of USER, mode"));
    expect(lines).toEqual([
      "ok    program              …",
      "ok    settings             serve: as the relay that runs was started: 3 by flags, 1 by variables, the rest by default",
      "skip  secret files         none are named by the settings",
      "ok    environment          no variable of BUN_OPTIONS, BUN_BE_BUN, LD_PRELOAD is set",
      "ok    proxies              no variable sends requests through one",
      "ok    open files           the relay, process N: N may be",
      `ok    relay here           URL: process N, version ${version}, up N s, ready`,
      "ok    data directory       DIR: of USER, mode 0700",
      expect.stringMatching(/^ok {4}files in it {10}\d, for their owner alone$/),
      "ok    database             DIR/modelrelay.db: N KiB, N KiB of changes beside it",
      expect.stringMatching(/^ok {4}tables {15}version \d+: as this modelrelay has them$/),
      "ok    integrity            every page and index is sound",
      expect.stringMatching(/^ok {4}rows {17}keys 0, worker secrets 0, usage 0/),
      "ok    writing              took N ms",
      "",
    ]);
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
  });

  test.if(onLinux)(
    "looks at the ports and the file of the relay that runs, wherever it was started",
    async () => {
      using place = new TempDir();
      const file = place.write("relay.toml", '[serve]\nlisten = "127.0.0.1:0"\nmax-queue-len = 20000000\n');
      const args = ["--data-dir", dir.path, "--config", "relay.toml"];
      const inPlace = ["env", "-C", place.path, process.execPath, join(import.meta.dir, "../../src/cli.ts")];
      place.write("relay.toml", '[serve]\nlisten = "127.0.0.1:0"\n');
      await using relay = new Program("serve", args, inPlace);
      const { port } = new URL(await relay.url());
      place.write("relay.toml", `[serve]\nlisten = "127.0.0.1:${port}"\nadmin-token = "hunter2"\n`);
      chmodSync(file, 0o644);
      const report = await doctor(["--data-dir", dir.path]);
      expect(found(report, "settings")[0]).toContain(`2 in ${file}`);
      expect(found(report, "port")).toEqual([
        `ok 127.0.0.1:${port} (--listen): held by the relay that runs here`,
      ]);
      expect(found(report, "secret files")[0]).toStartWith(
        `FAIL ${file} (config file with a secret in it): mode 0644: everybody can read it → `,
      );
      place.write("relay.toml", "[serve]\nmax-queue-lne = 5\n");
      const broken = await doctor(["--data-dir", dir.path]);
      expect(found(broken, "settings")[0]).toStartWith(
        `FAIL serve: Cannot use key [serve].max-queue-lne in "${file}": there is no such setting → Did you mean max-queue-len?`,
      );
      expect(JSON.stringify(report.checks)).not.toContain("hunter2");
    },
  );

  test("tells every mistake in the settings, and looks at the rest all the same", async () => {
    using place = new TempDir();
    const file = place.write("relay.toml", '[serve]\nlisten = "127.0.0.1:0"\n[worker]\nmodles = "x"\n');
    const report = await doctor(["--config", file, "--data-dir", dir.path], {
      env: {
        MAX_QUEUE_LEN: "many",
        QUEUE_TIMEOUT_SECS: "soon",
        WORKER_SECRET_FILE: join(place.path, "none"),
      },
    });
    expect(found(report, "settings").map((line) => line.split(" → ")[0])).toEqual([
      `FAIL serve: Cannot read the file of worker-secret "${place.path}/none" (environment variable WORKER_SECRET_FILE): no such file`,
      'FAIL serve: Cannot use "many" as max-queue-len (environment variable MAX_QUEUE_LEN): expected a whole number from 0 to 1000000',
      'FAIL serve: Cannot use "soon" as queue-timeout (environment variable QUEUE_TIMEOUT_SECS): expected a duration such as 30s, 5m or 1h30m, or a plain number of seconds',
      `FAIL worker: Cannot read the file of worker-secret "${place.path}/none" (environment variable WORKER_SECRET_FILE): no such file`,
      `FAIL worker: Cannot use key [worker].modles in "${file}": there is no such setting`,
    ]);
    expect([found(report, "data directory").length, report.code]).toEqual([1, 1]);
  });

  test("tells settings that do not go together, and a file that cannot be read", async () => {
    using place = new TempDir();
    const file = place.write("relay.toml", "[serve\n");
    const [together, syntax, missing] = await Promise.all([
      doctor(["--tls", LISTEN, "--data-dir", dir.path]),
      doctor(["--config", file, LISTEN, "--data-dir", dir.path]),
      doctor(["--config", `${file}x`, LISTEN, "--data-dir", dir.path]),
    ]);
    expect(found(together, "settings")[0]).toStartWith("FAIL serve: Cannot use --tls without --domain");
    expect(found(syntax, "settings")[0]).toStartWith(`FAIL serve: Cannot read the config file "${file}"`);
    expect(found(missing, "settings")[0]).toContain("no such file");
    expect([together.code, syntax.code, missing.code]).toEqual([1, 1, 1]);
  });

  test("refuses a flag that it does not have, or of no use, with exit code 2", async () => {
    const [unknown, bad, role] = await Promise.all([
      runCli(["doctor", "--lisen", "x"]),
      runCli(["doctor", "--listen", "nowhere"]),
      runCli(["doctor", "relay"]),
    ]);
    expect(unknown.stderr).toContain("Did you mean --listen?");
    expect(bad.stderr).toContain('Cannot use "nowhere" as listen (flag --listen)');
    expect(role.stderr).toContain("expected one of serve, worker");
    expect([unknown.code, bad.code, role.code]).toEqual([2, 2, 2]);
  });

  test("tells secrets that everybody can read, wherever the settings name them", async () => {
    using place = new TempDir();
    const secret = place.write("secret", "hunter2\n");
    chmodSync(secret, 0o644);
    const key = place.write("key.pem", "");
    chmodSync(key, 0o604);
    const report = await doctor([LISTEN, "--data-dir", dir.path, "--tls-cert", key, "--tls-key", key], {
      env: { WORKER_SECRET_FILE: secret },
    });
    expect(found(report, "secret files").map((line) => line.split(": ")[0])).toEqual([
      `FAIL ${secret} (worker-secret)`,
      `FAIL ${key} (tls-key)`,
    ]);
    expect(report.code).toBe(1);
  });

  describe("looks at the database", () => {
    async function lines(folder: TempDir): Promise<string[]> {
      const report = await doctor([LISTEN, "--data-dir", folder.path]);
      return report.checks
        .filter(({ step }) => ["database", "tables", "integrity", "rows", "writing"].includes(step))
        .map(({ step, ok, details }) => `${step} ${ok}: ${details}`);
    }

    test("that is not there yet", async () => {
      using folder = privateDir();
      expect(await lines(folder)).toEqual([
        "database null: not there yet: the first start of serve makes it",
      ]);
    });

    test("that is too large to be read by the way", async () => {
      using folder = privateDir();
      const file = join(folder.path, DATABASE_FILE);
      writeFileSync(file, "", { mode: 0o600 });
      truncateSync(file, 2 * 1024 ** 3);
      expect(await lines(folder)).toEqual([
        "database null: 2 GiB, too much to be read by the way; look at it with: modelrelay db check",
      ]);
    });

    test("that is none", async () => {
      using folder = privateDir();
      writeFileSync(join(folder.path, DATABASE_FILE), "no database ".repeat(500), { mode: 0o600 });
      expect(await lines(folder)).toEqual([
        expect.stringMatching(/^database false: .*it is not a SQLite database/),
      ]);
    });

    test("of a newer program, and one that another process keeps locked", async () => {
      using folder = privateDir();
      {
        await using relay = new Program("serve", [LISTEN, "--data-dir", folder.path]);
        await relay.url();
      }
      const holder = new Database(join(folder.path, DATABASE_FILE));
      holder.run("INSERT INTO schema_versions (version, applied_at) VALUES (99, 0)");
      holder.run("BEGIN IMMEDIATE");
      const seen = await lines(folder);
      holder.close();
      expect(seen.map((line) => line.split(":")[0])).toEqual([
        "database true",
        "tables false",
        "integrity true",
        "rows true",
        "writing false",
      ]);
    });
  });

  describe("of a worker", () => {
    test("looks at the relay that it dials, its clock among the rest, and at no relay of this machine", async () => {
      const date = new Date(Date.parse("2020-01-01T00:00:00Z")).toUTCString();
      using relay = Bun.serve({
        hostname: "127.0.0.1",
        port: 0,
        fetch: () =>
          Response.json(
            { version: "0.0.9", uptime_secs: 5, ready: true, reasons: [], warnings: [] },
            { headers: { date } },
          ),
      });
      const url = `http://127.0.0.1:${relay.port}`;
      const report = await doctor([], {
        env: { PROXY_URL: url, HTTP_PROXY: "http://127.0.0.1:1", HTTPS_PROXY: "http://127.0.0.1:1" },
      });
      expect(report.checks.map(({ step }) => step)).toEqual([
        "program",
        "settings",
        "secret files",
        "environment",
        "proxies",
        "memory",
        "open files",
        "relay dialled",
        "clock",
      ]);
      expect(found(report, "relay dialled")).toEqual([
        `warn ${url}: version 0.0.9, and ${version} here; they work together → Bring the older end up to date: modelrelay update`,
      ]);
      expect(found(report, "clock")[0]).toMatch(/^FAIL \S+: \d+ h( \d+ min)? ahead of the relay's → /);
      expect(report.code).toBe(1);
    });

    test("tells a relay that does not answer, that is none, and that it would not trust", async () => {
      using other = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("hello") });
      using secure = secureRelay();
      const at = (url: string, ...more: string[]) => doctor(["worker", `--proxy-url=${url}`, ...more]);
      const [silent, none, untrusted, pinned] = await Promise.all([
        at("http://127.0.0.1:1"),
        at(`http://127.0.0.1:${other.port}`),
        at(`https://127.0.0.1:${secure.port}`),
        at(`https://127.0.0.1:${secure.port}`, `--pin=sha256/${"A".repeat(43)}=`),
      ]);
      const [line] = found(silent, "relay dialled");
      expect(line).toBe(
        "FAIL http://127.0.0.1:1: nothing listens there (connection refused) → Look closer with: modelrelay worker --check",
      );
      expect(found(none, "relay dialled")[0]).toContain("what answers there is no modelrelay (HTTP 200)");
      expect(found(untrusted, "relay dialled")[0]).toMatch(/^FAIL https:.*certificate/);
      expect(found(pinned, "relay dialled")[0]).toContain("has the pin sha256/");
    });
  });

  test("prints JSON whose steps have the names that are documented", async () => {
    const report = await doctor([LISTEN, "--data-dir", dir.path]);
    const order = report.checks.map(({ step }) => DOCTOR_STEPS.indexOf(step));
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    expect(order).not.toContain(-1);
    const page = await Bun.file(new URL("../../docs/doctor.md", import.meta.url)).text();
    for (const step of DOCTOR_STEPS) expect(page).toContain(`| ${step} |`);
  });
});
