import { describe, expect, test } from "bun:test";
import { startProgram } from "../e2e/program.ts";
import { startFakeBackend } from "../support/fake-backend.ts";
import { screenOf, startOnTerminal, type OnTerminalOptions } from "../support/on-terminal.ts";

const CLI = [process.execPath, new URL("../../src/cli.ts", import.meta.url).pathname];
const WORKER_SECRET = "drain-test-secret";
const SERVE = ["serve", "--listen=127.0.0.1:0", "--drain-timeout=20s"];

/** The line that is written over, with this text. */
const drawn = (text: string, after = "") => new RegExp(`${after}\r\u001b\\[K${text}`);

const ask = (url: string) =>
  fetch(`${url}/v1/chat/completions`, { method: "POST", body: JSON.stringify({ model: "m", messages: [] }) });

/** A relay and a worker, each on a terminal of its own, with one request that waits for the test. */
async function startHeld(options: OnTerminalOptions = {}, serveFlags: string[] = []) {
  await using started = new AsyncDisposableStack();
  const backend = started.use(await startFakeBackend(["m"]));
  const env = { WORKER_SECRET, ...options.env };
  const serve = started.use(startOnTerminal([...CLI, ...SERVE, ...serveFlags], { ...options, env }));
  const [, url = ""] = await serve.until(/The relay listens.*(http:\/\/[\d.:]+)/);
  const worker = started.use(
    startOnTerminal(
      [...CLI, "worker", `--proxy-url=${url}`, `--backend-url=${backend.url}`, "--drain-timeout=20s"],
      { ...options, env },
    ),
  );
  await worker.until(/Connected to the relay .*models=m/);
  const answer = ask(url);
  // A test may cut it off before it looks.
  answer.catch(() => {});
  const exchange = await backend.next();
  const processes = started.move();
  return {
    serve,
    worker,
    answer,
    exchange,
    [Symbol.asyncDispose]: () => processes.disposeAsync(),
  };
}

describe.skipIf(process.platform === "win32")("Drain", () => {
  test("a relay on a terminal shows what is left, counts down in place, and leaves no trace", async () => {
    await using held = await startHeld();
    const { serve, answer, exchange } = held;
    serve.kill("SIGTERM");
    await serve.until(drawn("1 request left, 20 s"));
    await serve.until(drawn("1 request left, 19 s"));
    exchange.answer(200, { id: "1" });
    expect((await answer).status).toBe(200);
    expect(await serve.exited).toBe(0);
    expect(serve.written).not.toContain("\n1 request left");
    const screen = screenOf(serve.written);
    expect(screen.filter((line) => line.includes("request left"))).toEqual([]);
    expect(screen.at(-1)).toBe("");
    expect(screen.some((line) => line.includes("Finishing what runs"))).toBe(true);
  });

  test("a log line takes the place of what is shown, which comes back below it", async () => {
    await using held = await startHeld();
    const { serve, worker } = held;
    serve.kill("SIGINT");
    await serve.until(/1 request left/);
    worker.kill("SIGKILL");
    await serve.until(drawn("1 request left", String.raw`connection is lost[\s\S]*`));
    const screen = screenOf(serve.written);
    expect(screen.find((line) => line.includes("connection is lost"))).not.toContain("request left");
    expect(screen.at(-1)).toMatch(/^1 request left, \d+ s$/);
    serve.kill("SIGINT");
    expect(await serve.exited).toBe(130);
    expect(screenOf(serve.written).at(-1)).toBe("");
  });

  test("a worker shows the same, cut to a narrow terminal", async () => {
    await using held = await startHeld({ columns: 20 });
    const { worker, exchange, answer } = held;
    worker.kill("SIGTERM");
    await worker.until(drawn("1 request left"));
    expect(worker.written).not.toContain("1 request left,");
    worker.resize(60);
    await worker.until(drawn(String.raw`1 request left, \d+ s`));
    exchange.answer(200, { id: "1" });
    expect((await answer).status).toBe(200);
    expect(await worker.exited).toBe(0);
    expect(screenOf(worker.written).at(-1)).toBe("");
  });

  test("a terminal that knows no controls, and JSON lines, get plain lines", async () => {
    for (const [env, flags, line] of [
      [{ TERM: "dumb" }, [], /info {2}1 request left, 20 s\r\n/],
      [{ TERM: "xterm" }, ["--log-format=json"], /"message":"1 request left, 20 s"}\r\n/],
    ] as [Record<string, string>, string[], RegExp][]) {
      await using held = await startHeld({ env }, flags);
      held.serve.kill("SIGTERM");
      await held.serve.until(line);
      held.exchange.answer(200, { id: "1" });
      expect(await held.serve.exited).toBe(0);
      expect(held.serve.written).not.toContain("\u001b");
      await held.answer;
    }
  });

  test("NO_COLOR leaves a terminal the line, and takes every colour", async () => {
    await using held = await startHeld({ env: { NO_COLOR: "1" } });
    held.serve.kill("SIGTERM");
    await held.serve.until(drawn("1 request left, 20 s"));
    held.exchange.answer(200, { id: "1" });
    expect(await held.serve.exited).toBe(0);
    expect(held.serve.written.replaceAll("\u001b[K", "")).not.toContain("\u001b");
    await held.answer;
  });

  test("a NO_COLOR that is empty does not count", async () => {
    await using serve = startOnTerminal([...CLI, ...SERVE], { env: { NO_COLOR: "" } });
    await serve.until(/.\[32minfo .\[0m The relay listens/);
    serve.kill("SIGTERM");
    expect(await serve.exited).toBe(0);
  });

  test("without a terminal a drain is told in lines, and one of nothing in none", async () => {
    await using backend = await startFakeBackend(["m"]);
    const env = { WORKER_SECRET };
    await using serve = startProgram([...CLI, ...SERVE], { env });
    const [, url = ""] = await serve.until(/The relay listens url=(\S+)/);
    await using worker = startProgram(
      [...CLI, "worker", `--proxy-url=${url}`, `--backend-url=${backend.url}`],
      { env },
    );
    await worker.until(/Connected to the relay .*models=m/);
    const answer = ask(url);
    const exchange = await backend.next();
    serve.kill("SIGTERM");
    await serve.until(/info {2}1 request left, 20 s\n/);
    exchange.answer(200, { id: "1" });
    expect((await answer).status).toBe(200);
    expect(await serve.exited).toBe(0);
    expect(serve.stderr).not.toContain("\u001b");
    worker.kill("SIGTERM");
    expect(await worker.exited).toBe(0);
    expect(worker.stderr).not.toMatch(/request.* left|answers leave/);
  });

  test("a relay in which nothing runs has nothing to tell", async () => {
    await using serve = startProgram([...CLI, ...SERVE]);
    await serve.until(/The relay listens/);
    serve.kill("SIGTERM");
    expect(await serve.exited).toBe(0);
    expect(serve.stderr).toContain("Finishing what runs");
    expect(serve.stderr).not.toMatch(/request.* left|answers leave/);
  });
});
