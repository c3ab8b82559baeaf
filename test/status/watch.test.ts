import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { version } from "../../src/base/build-info.ts";
import { TempDir } from "../commands/reading.ts";
import { startProgram } from "../e2e/program.ts";
import { CLI } from "../doctor/machine.ts";
import { Program } from "../faults/processes.ts";
import { startOnTerminal } from "../support/on-terminal.ts";
import { connectRawWorker } from "../support/relays.ts";
import { BARE_HEALTH } from "./views.ts";

const ENTER = "\u001b[?1049h\u001b[?25l";
const LEAVE = "\u001b[?25h\u001b[?1049l";

function serve(dir: TempDir): Program {
  return new Program("serve", ["--listen", "127.0.0.1:0", "--data-dir", dir.path]);
}

/** @param interval for what has to come by itself */
const command = (dir: TempDir, more: readonly string[] = [], interval = "200ms") => [
  process.execPath,
  CLI,
  "status",
  "--watch",
  `--interval=${interval}`,
  `--data-dir=${dir.path}`,
  ...more,
];

// eslint-disable-next-line no-control-regex
const WHOLE_PICTURE = /\u001b\[J/;

/** The lines of the last picture that is whole. */
function lastPicture(written: string): string[] {
  const pictures = written.split("\u001b[H").filter((text) => WHOLE_PICTURE.test(text));
  const [picture = ""] = (pictures.at(-1) ?? "").split("\u001b[J");
  // Each line ends with that.
  return picture
    .split("\u001b[K")
    .slice(0, -1)
    .map((line) => line.trim());
}

async function fleet(url: string, count: number): Promise<void> {
  for (let at = 0; at < count; at++) {
    const worker = await connectRawWorker(url);
    await worker.register(["llama3.1:8b"], { worker_name: `gpu-box-${at}` });
  }
}

describe.skipIf(process.platform === "win32")("status --watch on a terminal", () => {
  test("draws in place on a screen of its own, and leaves the last picture behind at Ctrl-C", async () => {
    using dir = new TempDir();
    await using relay = serve(dir);
    const url = await relay.url();
    await using terminal = startOnTerminal(command(dir), { columns: 100 });
    await terminal.until(/warning +no worker is connected/);
    await fleet(url, 1);
    await terminal.until(/gpu-box-0 +free/);
    terminal.type("\u0003");
    expect(await terminal.exited).toBe(0);
    const { written } = terminal;
    expect(written).toStartWith(ENTER);
    const [drawn = "", left = ""] = written.split(LEAVE);
    expect(drawn.split("\u001b[H").length).toBeGreaterThan(2);
    // In place: nothing scrolls.
    expect(lastPicture(drawn)[0]).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$/);
    expect(left).toMatch(
      /^[\d: -]+ UTC\r\nrelay +http.*\r\nrequests[\s\S]*gpu-box-0 +free[^\n]*\n[\s\S]*llama3\.1:8b[^\n]*\n$/,
    );
  });

  test("fits the screen, and fits it again when its size changes", async () => {
    using dir = new TempDir();
    await using relay = serve(dir);
    await fleet(await relay.url(), 50);
    await using terminal = startOnTerminal(command(dir, [], "1h"), { columns: 120 });
    await terminal.until(WHOLE_PICTURE);
    const wide = lastPicture(terminal.written);
    // As many as the terminal has, so that nothing scrolls.
    expect(wide.length).toBe(24);
    expect(wide.some((line) => /^… and \d+ more workers$/.test(line))).toBe(true);
    expect(Math.max(...wide.map((line) => line.length))).toBeGreaterThan(60);
    terminal.resize(50);
    await terminal.until(/^ {13}of prompts, 0 of answers/m);
    terminal.kill("SIGTERM");
    expect(await terminal.exited).toBe(0);
    // eslint-disable-next-line no-control-regex
    const plain = lastPicture(terminal.written).map((line) => line.replace(/\u001b\[\d*m/g, ""));
    expect(Math.max(...plain.map((line) => Bun.stringWidth(line)))).toBeLessThanOrEqual(50);
  });

  test("draws no more lines than a screen has that is too narrow for anything", async () => {
    using dir = new TempDir();
    await using relay = serve(dir);
    await fleet(await relay.url(), 5);
    await using terminal = startOnTerminal(command(dir, [], "1h"), { columns: 16 });
    await terminal.until(WHOLE_PICTURE);
    expect(lastPicture(terminal.written).length).toBe(24);
  });

  test("colours titles and troubles, unless nobody wants colour", async () => {
    using dir = new TempDir();
    await using relay = serve(dir);
    await relay.url();
    const written = async (env: Record<string, string>): Promise<string> => {
      await using terminal = startOnTerminal(command(dir), { env });
      await terminal.until(/no worker is connected/);
      terminal.type("\u0003");
      await terminal.exited;
      return terminal.written;
    };
    const [coloured, plain, dumb] = await Promise.all([
      written({}),
      written({ NO_COLOR: "1" }),
      written({ TERM: "dumb" }),
    ]);
    expect(coloured).toContain("\u001b[33mwarning      no worker is connected\u001b[0m");
    // eslint-disable-next-line no-control-regex
    expect([plain, dumb].map((text) => /\u001b\[\d*m/.test(text))).toEqual([false, false]);
  });

  test("gives the screen back when it ends with an error", async () => {
    using dir = new TempDir();
    await using relay = serve(dir);
    await relay.url();
    await using terminal = startOnTerminal(command(dir, ["--admin-token=wrong"]));
    expect(await terminal.exited).toBe(1);
    expect(terminal.written).toMatch(
      // eslint-disable-next-line no-control-regex
      /\u001b\[\?25h\u001b\[\?1049lerror: The relay at \S+ refused the admin token\r\n/,
    );
  });
});

describe.skipIf(process.platform === "win32")("status --watch without a terminal", () => {
  test("writes one picture after the other, waits for a relay that is away, and ends with 0 at SIGTERM", async () => {
    using dir = new TempDir();
    await using watching = startProgram(command(dir));
    await watching.until(
      /^Cannot find a relay on this machine: none runs with the data directory "\S+"$/m,
      "stdout",
    );
    {
      await using relay = serve(dir);
      await fleet(await relay.url(), 1);
      await watching.until(/^relay +http[\s\S]*^gpu-box-0 +free/m, "stdout");
    }
    // It was killed, and left its file.
    await watching.until(
      /^gpu-box-0[\s\S]*\n\n[\d: -]+ UTC\nCannot find a relay .*\(for [\d.]+ s\)$/m,
      "stdout",
    );
    await using again = serve(dir);
    const url = await again.url();
    await watching.until(new RegExp(`^relay +${url}`, "m"), "stdout");
    watching.kill("SIGTERM");
    expect(await watching.exited).toBe(0);
    expect(watching.stderr).toBe("");
    // eslint-disable-next-line no-control-regex
    expect(watching.stdout).not.toMatch(/\u001b/);
    for (const picture of watching.stdout
      .trimEnd()
      .split("\n\n")
      .filter((text) => text.includes("requests")))
      expect(picture).toMatch(/^[\d: -]+ UTC\nrelay/);
  });

  test("tells a named relay that is away by its address, and takes it back", async () => {
    using dir = new TempDir();
    let answers = true;
    using relay = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: () =>
        answers ? Response.json(BARE_HEALTH) : new Response("down for a moment", { status: 502 }),
    });
    await using watching = startProgram(command(dir, [`--url=http://127.0.0.1:${relay.port}`]));
    await watching.until(/1\.2\.3, ready/, "stdout");
    answers = false;
    await watching.until(/what answers there is no modelrelay \(for [1-9]/, "stdout");
    answers = true;
    await watching.until(/no modelrelay[\s\S]*1\.2\.3, ready/, "stdout");
    // The next time is counted from its own beginning.
    answers = false;
    await watching.until(/\(for [\s\S]*1\.2\.3, ready[\s\S]*no modelrelay$/m, "stdout");
    watching.kill("SIGINT");
    expect(await watching.exited).toBe(0);
  });

  test("prints an object a line as JSON, of a relay that is away as well", async () => {
    using dir = new TempDir();
    await using watching = startProgram(command(dir, ["--json"]));
    await watching.until(/"error"/, "stdout");
    await using relay = serve(dir);
    await relay.url();
    await watching.until(/"uptime_secs".*\n/, "stdout");
    watching.kill("SIGTERM");
    expect(await watching.exited).toBe(0);
    const lines = watching.stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines[0]).toEqual({
      at: expect.any(String),
      error: expect.stringMatching(/^Cannot find/),
      down_secs: 0,
    });
    expect(lines.at(-1)).toMatchObject({ version, workers: [] });
  });

  test("ends where nobody reads any more", async () => {
    using dir = new TempDir();
    const words = command(dir)
      .map((word) => `'${word}'`)
      .join(" ");
    await using shell = startProgram(["bash", "-c", `${words} | head -n 2; echo "codes \${PIPESTATUS[*]}"`]);
    await shell.until(/codes 0 0/, "stdout");
    expect([await shell.exited, shell.stderr]).toEqual([0, ""]);
  });

  test("asks a token that the relay refuses once, and shows the rest", async () => {
    using dir = new TempDir();
    await using relay = serve(dir);
    await relay.url();
    await Bun.write(join(dir.path, "admin-token"), "stale\n");
    await using watching = startProgram(command(dir));
    await watching.until(/refused the admin token[\s\S]*(rates are told to whoever[\s\S]*){12}/, "stdout");
    watching.kill("SIGTERM");
    await watching.exited;
    expect(watching.stdout.match(/refused the admin token/g)?.length).toBe(1);
    expect(watching.stdout).not.toContain("Too many");
  });
});
