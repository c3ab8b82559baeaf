import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { greeting } from "../../src/commands/demo.ts";
import { describeBackend, findBackend } from "../../src/worker/discover.ts";
import { startTestBackend } from "../demo/backend.ts";
import { lacksPart } from "../support/parts.ts";
import { runProgram, startModelrelay } from "./program.ts";
import { startRelayed } from "./relayed.ts";

const ROOT = join(import.meta.dir, "../..");

/** What stands in the greeting for a person to copy, as it stands there. */
function snippets(text: string): { curl: string; sdk: string } {
  const [, curl, sdk] = /Try it:\n\n([^]*?)\n\nWith the OpenAI SDK .*:\n\n([^]*?)\n\nCtrl/.exec(text) ?? [];
  if (curl === undefined || sdk === undefined) throw new Error(`Cannot find two snippets in:\n${text}`);
  return { curl, sdk };
}

/** Takes a port, unless another program has it. */
async function hold(port: number): Promise<{ stop(force: boolean): void } | undefined> {
  try {
    return Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } });
  } catch {
    return undefined;
  }
}

describe("demo", () => {
  test.skipIf(lacksPart("curl"))("prints a request and an SDK call that work when pasted", async () => {
    await using demo = startModelrelay(["demo", "--listen", "127.0.0.1:0"]);
    await demo.until(/Ctrl\+C ends it/, "stdout");
    // As a rule no inference server runs where tests do; where one does, the demo has to have found it.
    const found = await findBackend();
    const builtIn = found === undefined || found.models.length === 0;
    const [first = ""] = demo.stdout.split("\n");
    expect(first).toStartWith(
      found === undefined
        ? "No inference server was found on this machine, so a built-in model answers: demo-echo."
        : describeBackend(found),
    );
    const { curl, sdk } = snippets(demo.stdout);
    const [pasted, ran] = await Promise.all([
      runProgram(["sh", "-c", curl]),
      runProgram([process.execPath, "-e", sdk], { cwd: ROOT }),
    ]);
    expect([pasted.code, ran]).toEqual([0, { ...ran, code: 0, stderr: "" }]);
    expect(pasted.stdout).toEndWith("data: [DONE]\n\n");
    if (builtIn) {
      expect(ran.stdout).toContain('Your last message was: "Hello"');
      expect(pasted.stdout).toContain('"content":" built"');
    }
    expect(demo.stderr).toBe("");
    demo.kill("SIGINT");
    expect(await demo.exited).toBe(0);
  });

  test("steps aside when its usual port is taken and none was asked for", async () => {
    // Whoever holds it, this test or another program: it is taken.
    const holder = await hold(8080);
    await using demo = startModelrelay(["demo"]);
    await demo.until(/Ctrl\+C ends it/, "stdout");
    const url = /The relay listens on (http:\S+)\. /.exec(demo.stdout)?.[1] ?? "";
    expect(url).toStartWith("http://127.0.0.1:");
    expect(url).not.toEndWith(":8080");
    expect((await fetch(`${url}/livez`)).status).toBe(200);
    holder?.stop(true);
  });

  test.skipIf(lacksPart("curl"))(
    "prints what works for a model of any name, and one that can chat",
    async () => {
      const model = `ada's "own":8b`;
      await using backend = startTestBackend({ models: [model] });
      await using relayed = await startRelayed({ backendUrl: backend.url });
      const { curl, sdk } = snippets(greeting(relayed.url, "", ["nomic-embed-text:latest", model]));
      const [pasted, ran] = await Promise.all([
        runProgram(["sh", "-c", curl]),
        runProgram([process.execPath, "-e", sdk], { cwd: ROOT }),
      ]);
      expect(pasted.stdout).toEndWith("data: [DONE]\n\n");
      expect(ran.stdout).toContain('Your last message was: "Hello"');
    },
  );
});
