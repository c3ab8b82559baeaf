import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tarGz } from "../../scripts/archive.ts";
import { archivePath, TARGET } from "../install/releases.ts";
import type { Fault, ReleaseServer } from "../install/release-server.ts";
import { runProgram } from "../e2e/program.ts";
import { executable, Installed, NEW, OLD, Releases, removeExecutables } from "./installed.ts";

afterAll(removeExecutables);

const ARCHIVE = archivePath(NEW);
const ARCHIVE_NAME = ARCHIVE.slice(ARCHIVE.indexOf("/") + 1);
const FOLDER = ARCHIVE_NAME.replace(".tar.gz", "");
const SUMS = `v${NEW}/SHA256SUMS`;
const isRoot = process.getuid?.() === 0;

/** A file of an archive. */
const file = (path: string, text: string) => ({
  path,
  bytes: new TextEncoder().encode(text),
  executable: true,
});

/** A program that says what it is told to. */
const program = (script: string, path = `${FOLDER}/modelrelay`) =>
  tarGz([file(path, `#!/bin/sh\n${script}\n`)], 0);

/** An archive of another content. */
const CHANGED = await program("echo other");

describe.skipIf(process.platform === "win32")(
  "An update that fails changes nothing, and says what to do:",
  () => {
    let old: string;
    beforeAll(async () => {
      old = await executable(OLD);
    }, 60_000);

    /** Tries an update, which has to fail. @returns what it says, with the address as <base> */
    async function failed(
      releases: Releases,
      faults: Record<string, Fault> = {},
      args: string[] = [],
      spoil: (installed: Installed, server: ReleaseServer) => void = () => {},
    ): Promise<string> {
      await using server = await releases.serve();
      for (const [path, fault] of Object.entries(faults)) server.faults.set(path, fault);
      using installed = new Installed(old);
      spoil(installed, server);
      const before = installed.state;
      const { stdout, stderr, code } = await installed.run(["update", ...args], server.env);
      expect({ stdout, code, state: installed.state }).toEqual({ stdout: "", code: 1, state: before });
      expect(stderr).not.toMatch(/^\s+at /m);
      return stderr.replaceAll(server.url, "<base>").replaceAll(installed.path, "<prefix>");
    }

    /** The lines of an error, without those of the download before it. */
    const errorIn = (stderr: string): string => stderr.slice(Math.max(0, stderr.indexOf("error: ")));

    const faults: [title: string, faults: Record<string, Fault>, args: string[], says: string | RegExp][] = [
      [
        "a sum that is another",
        { [SUMS]: { bytes: `${"0".repeat(64)}  ${ARCHIVE_NAME}\n` } },
        [],
        new RegExp(
          `^error: Cannot trust <base>/${ARCHIVE}: its SHA-256 is [0-9a-f]{64}, and SHA256SUMS says 0{64}\n` +
            "  → It was cut short or changed on its way; nothing was changed here. Try again, and if that does not help, tell whoever runs <base>\n$",
        ),
      ],
      [
        "an archive that somebody has changed",
        { [ARCHIVE]: { bytes: CHANGED } },
        [],
        /^error: Cannot trust <base>.* and SHA256SUMS says [0-9a-f]{64}\n/,
      ],
      [
        "an archive that is cut short, the server having said how long it is",
        { [ARCHIVE]: "cut" },
        [],
        new RegExp(
          `^error: Cannot download <base>/${ARCHIVE}: the connection was cut after \\S+ \\w+ of \\S+ \\w+\n  → Try again; nothing was changed\n$`,
        ),
      ],
      [
        "a version that is not there",
        {},
        ["--version=7.0.0"],
        "error: Cannot find modelrelay 7.0.0: <base>/v7.0.0/SHA256SUMS is not there (HTTP status 404)\n" +
          "  → Check the version: <base>/latest.txt names the newest\n",
      ],
      [
        "an archive that is not there",
        { [ARCHIVE]: 404 },
        [],
        `error: Cannot find modelrelay ${NEW}: <base>/${ARCHIVE} is not there (HTTP status 404)\n` +
          "  → Check the version: <base>/latest.txt names the newest\n",
      ],
      [
        "an address without releases",
        { "latest.txt": 404 },
        [],
        "error: Cannot download <base>/latest.txt: the server answers with HTTP status 404\n" +
          "  → Check the release address: --base-url, or MODELRELAY_BASE_URL\n",
      ],
      [
        "a network that wants a login",
        {
          "latest.txt": { bytes: "<html><body>\u001b[2JPlease log in to the hotel's net</body></html>" },
        },
        [],
        'error: Cannot find the newest version at <base>/latest.txt: "<html><body>?[2JPlease log in to the hot…" is no version such as 1.2.3\n' +
          "  → Check the release address, <base>, and that this network needs no login\n",
      ],
      [
        "a page without end in place of the version",
        { "latest.txt": { bytes: "x".repeat(2_000_000) } },
        [],
        "error: Cannot download <base>/latest.txt: it is longer than 1 MiB\n  → Check the release address: --base-url, or MODELRELAY_BASE_URL\n",
      ],
      [
        "a release for other platforms only",
        { [SUMS]: { bytes: `${"0".repeat(64)}  modelrelay-${NEW}-plan9-mips.tar.gz\n` } },
        [],
        `error: Cannot update to ${NEW} on ${TARGET}: the release has no ${ARCHIVE_NAME}\n` +
          "  → It has: plan9-mips.tar.gz; choose another version with --version\n",
      ],
      [
        "sums that are a page",
        { [SUMS]: { bytes: "<html></html>" } },
        [],
        `error: Cannot update to ${NEW} on ${TARGET}: the release has no ${ARCHIVE_NAME}\n` +
          "  → It has: nothing; choose another version with --version\n",
      ],
    ];
    test.each(faults)("%s", async (_, given, args, says) => {
      using releases = new Releases();
      await releases.add({ version: NEW });
      const said = errorIn(await failed(releases, given, args));
      if (typeof says === "string") expect(said).toBe(says);
      else expect(said).toMatch(says);
    });

    const archives: [title: string, archive: Uint8Array | Promise<Uint8Array>, says: RegExp][] = [
      [
        "an executable that ends with another code",
        program("echo 'no such instruction\u001b[31m' >&2; exit 3"),
        /^error: Cannot run ".*modelrelay" here: exit code 3, "no such instruction\?\[31m"\n {2}→ /,
      ],
      [
        "an executable that a signal ends",
        program("kill -ILL $$"),
        /^error: Cannot run ".*" here: signal SIGILL\n {2}→ The processor lacks instructions that it needs; install.sh finds the build for it\n$/,
      ],
      [
        "an executable that is something else",
        program("echo 'curl 7.0.0 (x86_64)'"),
        /^error: Cannot run ".*" here: exit code 0, "curl 7\.0\.0 \(x86_64\)"\n/,
      ],
      [
        "an executable of another version",
        program(`echo 'modelrelay 1.0.5 (x, ${TARGET})'`),
        /^error: Cannot use modelrelay-1\.1\.0-.*\.tar\.gz: the executable in it is of version 1\.0\.5\n {2}→ Tell whoever runs <base>; nothing was changed\n$/,
      ],
      [
        "an executable for another system",
        tarGz([file(`${FOLDER}/modelrelay`, "MZ\u0000\u0000")], 0),
        /^error: Cannot run ".*" here: .+\n {2}→ .+\n$/,
      ],
      [
        "an archive without the executable",
        program("", `${FOLDER}/something-else`),
        /^error: Cannot unpack modelrelay-.*: it holds no executable\n {2}→ The release itself is damaged/,
      ],
      [
        "an archive that leads out of its folder",
        program("", `${FOLDER}/../../../evil`),
        /^error: Cannot unpack modelrelay-.*: it holds a path that leads out of it\n {2}→ The release itself is damaged/,
      ],
      [
        "an archive that is none, with the right sum",
        new TextEncoder().encode("not a gzip at all"),
        /^error: Cannot unpack modelrelay-.*: .+\n {2}→ The release itself is damaged: tell whoever made it; nothing was changed\n$/,
      ],
      [
        "an archive that was cut before its sum was taken",
        program("true").then((whole) => whole.slice(0, 100)),
        /^error: Cannot unpack modelrelay-.*: .+\n {2}→ The release itself is damaged/,
      ],
    ];
    test.each(archives)("%s", async (_, archive, says) => {
      using releases = new Releases();
      releases.addArchive(NEW, await archive);
      expect(errorIn(await failed(releases))).toMatch(says);
    });

    test("nothing that answers", async () => {
      using installed = new Installed(old);
      const { stderr, code } = await installed.run(["update", "--base-url", "http://127.0.0.1:1"]);
      expect([stderr, code]).toEqual([
        "error: Cannot download http://127.0.0.1:1/latest.txt: nothing listens there (connection refused)\n" +
          "  → Check the address, the network and, where a proxy is needed, HTTPS_PROXY\n",
        1,
      ]);
    });

    test("an address that is not encrypted is pointed out", async () => {
      using proxy = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("0.9.0\n") });
      using installed = new Installed(old);
      const { stderr, code } = await installed.run(
        ["update", "--base-url=http://ada:s3cret@releases.example"],
        {
          HTTP_PROXY: `http://127.0.0.1:${proxy.port}`,
        },
      );
      expect([stderr.split("\n").slice(0, 2), code]).toEqual([
        [
          "http://…@releases.example is not encrypted: who stands on the way there can change archive and sums alike",
          `error: Cannot update to 0.9.0, the newest version at http://…@releases.example: this is ${OLD}, which is newer`,
        ],
        1,
      ]);
    });

    test("a folder where the version before is to be kept", async () => {
      using releases = new Releases();
      await releases.add({ version: NEW });
      const said = await failed(releases, {}, [], (installed) => mkdirSync(installed.previous));
      expect(errorIn(said)).toBe(
        'error: Cannot keep the present version as "<prefix>/bin/modelrelay.previous": a folder has that name\n' +
          "  → Move that folder away\n",
      );
    });

    test("no right to write, told before anything is downloaded", async () => {
      using releases = new Releases();
      await releases.add({ version: NEW });
      await using server = await releases.serve();
      using installed = new Installed(old);
      for (const dir of [installed.path, installed.bin]) chmodSync(dir, isRoot ? 0o755 : 0o555);
      const before = installed.state;
      const nobody = isRoot ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] : [];
      const { stderr, code } = await runProgram([...nobody, installed.program, "update"], {
        env: server.env,
      });
      chmodSync(installed.bin, 0o755);
      chmodSync(installed.path, 0o755);
      expect(stderr).toBe(
        `error: Cannot update what is in ${installed.bin}: the user with id ${isRoot ? 65534 : process.getuid?.()} may not write to ${installed.bin}\n` +
          "  → Run it as whoever installed it, as a rule root: sudo modelrelay update\n",
      );
      expect([code, server.asked, Object.keys(installed.state)]).toEqual([
        1,
        ["latest.txt"],
        Object.keys(before),
      ]);
    });

    test("a rollback without a version before this one", async () => {
      using installed = new Installed(old);
      const { stderr, code } = await installed.run(["update", "--rollback"]);
      expect([stderr, code]).toEqual([
        `error: Cannot go back: no version before this one is kept as "${installed.previous}"\n` +
          "  → Any version can be had with: modelrelay update --version VERSION\n",
        1,
      ]);
      linkSync(installed.program, installed.previous);
      const same = await installed.run(["update", "--rollback"]);
      expect(same.stderr).toStartWith(
        `error: Cannot go back: "${installed.previous}" is the same as "${installed.program}"\n`,
      );
    });

    test("a rollback to something that does not run", async () => {
      using installed = new Installed(old);
      writeFileSync(installed.previous, "#!/bin/sh\nexit 9\n", { mode: 0o755 });
      const before = installed.state;
      const { stderr, code } = await installed.run(["update", "--rollback"]);
      expect(stderr).toStartWith(`error: Cannot run "${installed.previous}" here: exit code 9\n`);
      expect([code, installed.state]).toEqual([1, before]);
    });

    test("the version that is kept is asked to update itself", async () => {
      using installed = new Installed(old);
      linkSync(installed.program, installed.previous);
      const { stderr, code } = await installed.run(["update"], {}, installed.previous);
      expect([stderr, code]).toEqual([
        `error: Cannot update "${installed.previous}": it is kept for update --rollback\n` +
          `  → Run the one beside it: ${installed.program} update\n`,
        1,
      ]);
    });
  },
);

describe.skipIf(process.platform === "win32")("An update that is interrupted", () => {
  let old: string;
  beforeAll(async () => {
    old = await executable(OLD);
  }, 60_000);

  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 143],
  ] as const)("by %s leaves nothing behind, and ends with its code", async (signal, expected) => {
    using releases = new Releases();
    await releases.add({ version: NEW });
    await using server = await releases.serveHalves();
    using installed = new Installed(old);
    const before = installed.state;
    await using update = installed.start(["update"], server.env);
    await update.until(/Downloading/);
    expect(Object.keys(installed.state).length).toBeGreaterThan(Object.keys(before).length);
    update.kill(signal);
    expect([await update.exited, installed.state]).toEqual([expected, before]);
    expect(update.stderr).toEndWith("Interrupted; nothing was changed\n");
  });

  test("by a kill leaves the executable whole, and the next one clears up", async () => {
    using releases = new Releases();
    await releases.add({ version: NEW });
    using installed = new Installed(old);
    await using server = await releases.serveHalves();
    {
      await using update = installed.start(["update"], server.env);
      await update.until(/Downloading/);
      update.kill("SIGKILL");
      await update.exited;
    }
    expect(readdirSync(installed.bin).filter((name) => name.startsWith(".modelrelay-install."))).toHaveLength(
      1,
    );
    expect(await installed.version()).toBe(OLD);
    server.go();
    expect((await installed.run(["update"], server.env)).code).toBe(0);
    expect(Object.keys(installed.state)).toEqual(["bin", "bin/modelrelay", "bin/modelrelay.previous"]);
    expect(await installed.version()).toBe(NEW);
  });

  test.skipIf(process.platform !== "linux")(
    "before it has begun says that its executable is gone",
    async () => {
      using installed = new Installed(old);
      await using update = installed.start(["update", "--rollback"]);
      rmSync(installed.program);
      expect(await update.exited).toBe(1);
      expect(update.stderr).toMatch(
        /^error: Cannot (find the executable that runs, |replace )".*modelrelay.*"[^\n]*\n {2}→ .+\n$/,
      );
    },
  );

  test("by another one lets that be: what is there is whole, and one of them says so", async () => {
    using releases = new Releases();
    await releases.add({ version: NEW });
    await using server = await releases.serveHalves();
    using installed = new Installed(old);
    await using slow = installed.start(["update"], server.env);
    await slow.until(/Downloading/);
    // As if the other had been done meanwhile.
    rmSync(installed.program);
    writeFileSync(installed.program, "#!/bin/sh\necho other\n", { mode: 0o755 });
    const before = readFileSync(installed.program);
    server.go();
    expect(await slow.exited).toBe(1);
    expect(slow.stderr).toContain(
      `error: Cannot replace "${installed.program}": something else has replaced it meanwhile\n`,
    );
    expect(readFileSync(installed.program).equals(before)).toBe(true);
    expect(existsSync(installed.previous)).toBe(false);
  });
});
