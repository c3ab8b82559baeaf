import { describe, expect, test } from "bun:test";
import { TempDir } from "./reading.ts";

const CLI = new URL("../../src/cli.ts", import.meta.url).pathname;
const DOCS = new URL("../../scripts/docs.ts", import.meta.url).pathname;

/** The environment of this test run must not decide what the child reads. */
const CLEAN_ENV = { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "" };

function start(args: string[], env: Record<string, string> = {}) {
  return Bun.spawn([process.execPath, CLI, ...args], {
    env: { ...CLEAN_ENV, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
}

async function run(
  args: string[],
  env: Record<string, string> = {},
): Promise<{ stdout: string; stderr: string; code: number }> {
  const child = start(args, env);
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { stdout, stderr, code: await child.exited };
}

describe("CLI", () => {
  test("--version prints version, commit and platform to stdout", async () => {
    const { stdout, ...rest } = await run(["--version"]);
    expect(stdout).toMatch(/^modelrelay \d+\.\d+\.\d+ \(\w+, \w+-\w+\)\n$/);
    expect(rest).toEqual({ stderr: "", code: 0 });
    expect(await run(["-v"])).toEqual({ stdout, stderr: "", code: 0 });
  });

  test("the help of the program lists the commands, however it is asked for", async () => {
    const [bare, flag, word] = await Promise.all([run([]), run(["--help"]), run(["help"])]);
    expect(bare.stdout.replace(/modelrelay \d+\.\d+\.\d+/, "modelrelay VERSION")).toMatchSnapshot();
    expect([bare.stderr, bare.code, flag, word]).toEqual(["", 0, bare, bare]);
  });

  for (const command of ["serve", "worker", "demo"]) {
    test(`the help of ${command} lists its flags, variables and defaults`, async () => {
      const [flag, word] = await Promise.all([run([command, "--bogus", "--help"]), run(["help", command])]);
      expect(flag.stdout).toMatchSnapshot();
      expect([flag.stderr, flag.code, word]).toEqual(["", 0, flag]);
    });
  }

  const mistakes: [title: string, args: string[], env: Record<string, string>, stderr: string][] = [
    [
      "a mistyped command is named with the nearest one",
      ["sevre"],
      {},
      'error: Cannot run "sevre": modelrelay has no such command\n  → Did you mean serve? See all with: modelrelay --help\n',
    ],
    [
      "help for a command that is not there says so",
      ["help", "wroker"],
      {},
      'error: Cannot run "wroker": modelrelay has no such command\n  → Did you mean worker? See all with: modelrelay --help\n',
    ],
    [
      "a name that every object has is no command",
      ["constructor"],
      {},
      'error: Cannot run "constructor": modelrelay has no such command\n  → See all with: modelrelay --help\n',
    ],
    [
      "a flag before the command is refused without its value",
      ["--worker-secret=hunter2", "serve"],
      {},
      "error: Cannot use flag --worker-secret here: the command comes first, as in modelrelay serve --worker-secret\n  → See all with: modelrelay --help\n",
    ],
    [
      "a word after --version is refused",
      ["--version", "now"],
      {},
      'error: Cannot use "now": nothing may follow "modelrelay --version"\n  → See all with: modelrelay --help\n',
    ],
    [
      "an unknown flag of a command is refused",
      ["serve", "--lisen", "x"],
      {},
      'error: Cannot use flag --lisen: "modelrelay serve" has no such flag\n  → Did you mean --listen? See all with: modelrelay help serve\n',
    ],
    [
      "a bad value in the environment is refused",
      ["worker"],
      { MAX_CONCURRENCY: "0" },
      'error: Cannot use "0" as max-concurrency (environment variable MAX_CONCURRENCY): expected a whole number from 1 to 4096\n',
    ],
    [
      "TLS without a name is refused",
      ["serve", "--tls"],
      {},
      "error: Cannot use --tls without --domain: a certificate is for a name\n  → Add --domain relay.example.com, a name whose DNS record leads to this machine; without one, see --tls-self-signed\n",
    ],
    [
      "a name without TLS is refused",
      ["serve", "--domain", "relay.example.com"],
      {},
      "error: Cannot use flag --domain: no certificate is ordered without --tls\n  → Add --tls\n",
    ],
    [
      "a worker without a secret is told where it is had",
      ["worker"],
      {},
      "error: Cannot connect to a relay without its worker secret: worker-secret is not set\n  → Give --worker-secret-file FILE or WORKER_SECRET; the relay prints the whole command at its start\n",
    ],
  ];
  for (const [title, args, env, stderr] of mistakes) {
    test(`${title}, with exit code 2`, async () => {
      expect(await run(args, env)).toEqual({ stdout: "", stderr, code: 2 });
    });
  }

  test("a port that is taken is a problem with exit code 1 and no stack", async () => {
    using dir = new TempDir();
    using taken = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
    const { stdout, stderr, code } = await run(["serve", "--listen", `127.0.0.1:${taken.port}`], {
      MODELRELAY_DATA_DIR: dir.path,
    });
    expect(stdout).toBe("");
    expect(stderr).toMatch(new RegExp(`^error: Cannot .*${taken.port}`));
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(code).toBe(1);
  });

  test.if(process.platform !== "win32")(
    "serve prints the worker command, reads its file again, and ends with 0",
    async () => {
      using dir = new TempDir();
      const file = dir.write("relay.toml", "[serve]\nmax-queue-len = 1\n");
      const args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", dir.path, "--config", file];
      await using child = start(args);
      let stderr = "";
      const reading = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
      const until = async (text: string): Promise<void> => {
        while (!stderr.includes(text)) {
          const { done, value } = await reading.read();
          if (done) throw new Error(`The end came before "${text}": ${stderr}`);
          stderr += value;
        }
      };
      await until("--worker-secret-file ");
      dir.write("relay.toml", '[serve]\nmax-queue-len = 2\nprovider = "other"\n');
      child.kill("SIGHUP");
      await until("Some settings change only at the next start settings=provider");
      dir.write("relay.toml", "[serve]\nmax-queue-len = -2\n");
      child.kill("SIGHUP");
      await until("Settings stay as they are");
      child.kill("SIGTERM");
      expect(await child.stdout.text()).toBe("");
      expect(stderr).toContain("changed=maxQueueLen");
      expect(stderr).toContain(`--worker-secret-file ${dir.path}/worker-secret\n`);
      expect(await child.exited).toBe(0);
    },
  );

  test("the reference page matches the tables", async () => {
    const child = Bun.spawn([process.execPath, DOCS, "--check"], { stderr: "pipe" });
    expect(await child.stderr.text()).toBe("");
    expect(await child.exited).toBe(0);
  });
});
