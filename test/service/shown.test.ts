import { describe, expect, test } from "bun:test";
import { lastLines, stateText } from "../../src/commands/service-shared.ts";
import { Systemd } from "../../src/service/systemd.ts";
import { FakeMachine } from "./fake-machine.ts";

describe("What a service says of itself", () => {
  test("moves no terminal", () => {
    expect(stateText({ state: "running", status: "Serves\u001b[2J" })).toBe("Serves?[2J");
    expect(stateText({ state: "failed", status: "\u202eno" })).toBe("has failed (?no)");
  });

  test("moves none where the end of its log is shown, line by line", async () => {
    const machine = new FakeMachine({
      platform: "linux",
      answers: () => ({ stdout: "one\u001b]0;x\u0007\n\ntwo\n" }),
    });
    const around = { machine, supervisor: new Systemd(machine) };
    const id = { kind: "serve", name: undefined, scope: "system" } as const;
    expect(await lastLines(around, id, { start: undefined, lines: 3 })).toEqual(["one?]0;x?", "two"]);
  });
});
