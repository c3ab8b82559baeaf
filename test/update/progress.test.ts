import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { screenOf, startOnTerminal } from "../support/on-terminal.ts";
import { executable, Installed, NEW, OLD, Releases, removeExecutables } from "./installed.ts";

afterAll(removeExecutables);

/** The line that is written over, with this text. */
const drawn = (text: string) => new RegExp(`\\r\u001b\\[K${text}`);

describe.skipIf(process.platform === "win32")("The download of an update", () => {
  let old: string;
  beforeAll(async () => {
    old = await executable(OLD);
  }, 60_000);

  test("is shown in one line of a terminal, which is gone at the end", async () => {
    using releases = new Releases();
    await releases.add({ version: NEW });
    await using server = await releases.serveHalves();
    using installed = new Installed(old);
    await using update = startOnTerminal([installed.program, "update"], { env: server.env });
    await update.until(drawn(`Downloading modelrelay ${NEW}, (49|50) %, \\d+ B of \\d+ B`));
    server.go();
    expect(await update.exited).toBe(0);
    const screen = screenOf(update.written);
    expect(screen.filter((line) => line.includes("Downloading"))).toEqual([]);
    expect(screen[0]).toStartWith(`${installed.program} is now modelrelay ${NEW}`);
  });

  test("is cut to a narrow terminal, and leaves it when interrupted from its keyboard", async () => {
    using releases = new Releases();
    await releases.add({ version: NEW });
    await using server = await releases.serveHalves();
    using installed = new Installed(old);
    const before = installed.state;
    await using update = startOnTerminal([installed.program, "update"], { env: server.env, columns: 32 });
    await update.until(drawn(`Downloading modelrelay ${NEW}`));
    update.type("\u0003");
    expect(await update.exited).toBe(130);
    expect(update.written).not.toContain(" %");
    expect(screenOf(update.written).join("\n")).toMatch(/^(\^C)?Interrupted; nothing was changed\n$/);
    expect(installed.state).toEqual(before);
  });

  test("is told in a plain line where there is no terminal, or one that knows no controls", async () => {
    using releases = new Releases();
    await releases.add({ version: NEW });
    await using server = await releases.serveHalves();
    server.go();
    using installed = new Installed(old);
    const env = { ...server.env, TERM: "dumb" };
    await using update = startOnTerminal([installed.program, "update"], { env });
    expect(await update.exited).toBe(0);
    expect(update.written).toMatch(/^Downloading modelrelay \S+, \d+ %, \d+ B of \d+ B\r\n\S+ is now/);
    expect(update.written).not.toContain("\u001b");
  });
});
