import { describe, expect, test } from "bun:test";
import { runCli } from "../doctor/machine.ts";

type Answers = Record<string, Response | (() => Response)>;

/** What answers where a relay was thought to be. */
function foreign(answers: Answers) {
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      const answer = answers[new URL(request.url).pathname] ?? new Response("", { status: 404 });
      return typeof answer === "function" ? answer() : (answer.clone() as Response);
    },
  });
  const url = `http://127.0.0.1:${server.port}`;
  return {
    url,
    status: (...args: string[]) => runCli(["status", "--url", url, ...args]),
    [Symbol.dispose]: () => void server.stop(true),
  };
}

const ready = Response.json({ ready: true, reasons: [], warnings: [] });
const health = (more: object) => Response.json({ version: "9", workers: [], ...more });

function endless(): Response {
  const chunk = new Uint8Array(1024 * 1024).fill(0x20);
  return new Response(new ReadableStream({ pull: (to) => to.enqueue(chunk) }));
}

describe("What answers where a relay was thought to be", () => {
  const strange: [string, Answers][] = [
    ["workers that are none", { "/health": health({ workers: [null, 1, { name: 5 }] }), "/readyz": ready }],
    ["certificates that are none", { "/health": health({ certificates: [{}] }), "/readyz": ready }],
    ["words where numbers belong", { "/health": health({ bytes_held: "x" }), "/readyz": ready }],
    ["a list", { "/health": Response.json([]), "/readyz": ready }],
    ["no readiness", { "/health": health({}) }],
    [
      "reasons that are none",
      { "/health": health({}), "/readyz": Response.json({ ready: 1, reasons: "no" }) },
    ],
    [
      "an odd last minute",
      {
        "/health": health({}),
        "/readyz": ready,
        "/admin/workers": Response.json({ workers: [] }),
        "/admin/stats": Response.json({ last_minute: { secs: "x" } }),
      },
    ],
  ];
  for (const [what, answers] of strange) {
    test(`is told to be no relay where it tells ${what}`, async () => {
      using other = foreign(answers);
      expect(await other.status("--admin-token", "t")).toMatchObject({
        stdout: "",
        stderr: `error: Cannot tell how the relay at ${other.url} is: what answers there is no modelrelay\n  → Name the relay's address with --url, with its port\n`,
        code: 1,
      });
    });
  }

  test("is not read for ever", async () => {
    using other = foreign({ "/health": endless, "/readyz": ready });
    const { stderr, code } = await other.status();
    expect(stderr).toStartWith(
      `error: Cannot reach the relay at ${other.url}: its answer is longer than 64 MiB\n`,
    );
    expect(code).toBe(1);
  });

  test("is no bug of modelrelay where it answers an operator", async () => {
    using other = foreign({ "/admin/keys": new Response("<html>\u001b[2J") });
    const { stderr, code } = await runCli(["keys", "list", "--relay-url", other.url, "--admin-token", "t"]);
    expect(stderr).toStartWith(
      `error: Cannot ask the relay at ${other.url}: what answers there is no modelrelay\n`,
    );
    expect(code).toBe(1);
  });

  test("neither moves a terminal with its refusal, nor turns its letters around", async () => {
    const message = "no\u001b[2J\u009b1m \u202eerehwyna";
    using other = foreign({ "/admin/keys": Response.json({ error: { message } }, { status: 403 }) });
    const { stderr } = await runCli(["keys", "list", "--relay-url", other.url, "--admin-token", "t"]);
    expect(stderr).toBe(`error: The relay at ${other.url} refused: no?[2J?1m ?erehwyna\n`);
  });
});
