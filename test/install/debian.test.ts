import { beforeAll, describe, expect, test } from "bun:test";
import { startTestBackend } from "../demo/backend.ts";
import { lacksPart } from "../support/parts.ts";
import { DebianRoot } from "./debian-root.ts";
import { NEWER, OLDER, releaseFolder } from "./releases.ts";
import { serveReleases } from "./release-server.ts";

interface FreshSystem {
  name: string;
  /** Shell script that makes it of the smallest Debian with curl. */
  prepare: string;
  download: string[];
  post: string[];
}

const SYSTEMS: FreshSystem[] = [
  {
    name: "curl",
    prepare: "",
    download: ["curl", "-fsSL"],
    post: ["curl", "-fsS", "-H", "content-type: application/json", "-d"],
  },
  {
    name: "busybox",
    // Its libraries are left, and of its programs only busybox under all its names.
    prepare: `rm -rf $root/usr/bin $root/usr/sbin
      mkdir $root/usr/bin $root/usr/sbin
      cp "$(PATH=$PATH:/sbin command -v busybox)" $root/usr/bin/busybox
      chroot $root /usr/bin/busybox --install -s /usr/bin`,
    download: ["wget", "-q", "-O", "-"],
    post: ["wget", "-q", "-O", "-", "--header", "content-type: application/json", "--post-data"],
  },
];

const chat = JSON.stringify({ model: "demo-echo", messages: [{ role: "user", content: "hello there" }] });

/** Whether a Debian can be had and started here; where it cannot, the reason is told. */
async function canStart(): Promise<boolean> {
  if (process.platform !== "linux" || lacksPart("debianRoot", "busybox")) return false;
  if (process.env["CI"] === "true") return true;
  try {
    await using root = await DebianRoot.start();
    return root !== undefined;
  } catch (error) {
    process.stderr.write(`Cannot start a Debian root, its tests are skipped: ${String(error)}\n`);
    return false;
  }
}

describe.skipIf(!(await canStart()))("A fresh Debian", () => {
  let dir: string;
  beforeAll(async () => {
    dir = await releaseFolder();
  }, 60_000);

  test.each(SYSTEMS)(
    "with nothing but $name installs, relays, upgrades, goes back and uninstalls",
    async ({ prepare, download, post }) => {
      await using releases = await serveReleases(dir);
      await using root = await DebianRoot.start(prepare);
      const before = await root.files();
      const install = (...words: string[]) =>
        root.run(
          ["sh", "-c", `${download.join(" ")} "$0/install.sh" | sh -s -- "$@"`, releases.url, ...words],
          releases.env,
        );
      const version = async () => (await root.run(["modelrelay", "--version"])).stdout.split(" ")[1];

      const installed = await install("--version", OLDER);
      expect(installed).toEqual({
        stdout: expect.stringContaining("Installed modelrelay") as string,
        stderr: "",
        code: 0,
      });
      expect(await version()).toBe(OLDER);

      {
        await using backend = startTestBackend();
        await using serve = root.start(["modelrelay", "serve", "--listen", "127.0.0.1:0"]);
        const [, url = ""] = await serve.until(/The relay listens url=(\S+)/);
        const [, command = ""] = await serve.until(/^Workers connect with: (modelrelay worker .*)\n/m);
        await using worker = root.start(["sh", "-c", `exec ${command}`], { BACKEND_URL: backend.url });
        await worker.until(/Connected to the relay .*models=demo-echo/);
        const answer = await root.run([...post, chat, `${url}/v1/chat/completions`]);
        expect({ stderr: answer.stderr, code: answer.code }).toEqual({ stderr: "", code: 0 });
        expect(answer.stdout).toContain('Your last message was: \\"hello there\\"');

        // An upgrade leaves those that run alone.
        expect((await install()).stdout).toContain(`The version before it, ${OLDER}, is kept`);
        expect(await version()).toBe(NEWER);
        expect((await root.run([...post, chat, `${url}/v1/chat/completions`])).code).toBe(0);
        for (const program of [worker, serve]) {
          program.kill("SIGTERM");
          expect(await program.exited).toBe(0);
        }
      }

      const back = await root.run(["modelrelay", "update", "--rollback"]);
      expect({ code: back.code, stderr: back.stderr, version: await version() }).toMatchObject({
        code: 0,
        version: OLDER,
      });
      const forth = await root.run(["modelrelay", "update"], releases.env);
      expect({ code: forth.code, version: await version() }).toEqual({ code: 0, version: NEWER });

      const removed = await install("--uninstall", "--purge");
      expect({ stderr: removed.stderr, code: removed.code }).toEqual({ stderr: "", code: 0 });
      expect(await root.files()).toEqual(before);
    },
    60_000,
  );
});
