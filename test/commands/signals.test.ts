import { EventEmitter } from "node:events";
import { describe, expect, test } from "bun:test";
import { stopRequested } from "../../src/commands/signals.ts";

describe("Signals", () => {
  test("the first one drains, and the command ends with 0 when that is done", async () => {
    const source = new EventEmitter();
    const drained = Promise.withResolvers<void>();
    const heard: string[] = [];
    const ended = stopRequested({ onFirst: (signal) => (heard.push(signal), drained.promise) }, source);
    source.emit("SIGTERM");
    drained.resolve();
    expect([await ended, heard]).toEqual([0, ["SIGTERM"]]);
  });

  test("the second one ends at once with the code of its signal", async () => {
    const codes = [];
    for (const second of ["SIGINT", "SIGTERM"]) {
      const source = new EventEmitter();
      const heard: string[] = [];
      const ended = stopRequested(
        { onFirst: () => new Promise(() => {}), onSecond: (signal) => heard.push(signal) },
        source,
      );
      source.emit("SIGTERM");
      source.emit(second);
      codes.push([await ended, heard]);
    }
    expect(codes).toEqual([
      [130, ["SIGINT"]],
      [143, ["SIGTERM"]],
    ]);
  });

  test("a drain that fails is a failure of the command", async () => {
    const source = new EventEmitter();
    const ended = stopRequested({ onFirst: () => Promise.reject(new Error("stuck")) }, source);
    source.emit("SIGINT");
    expect(await ended.catch((reason: unknown) => reason)).toEqual(new Error("stuck"));
  });

  test.if(process.platform !== "win32")(
    "SIGUSR2 ends the command with 0 once another has its place",
    async () => {
      const source = new EventEmitter();
      const takenOver = Promise.withResolvers<boolean>();
      const ended = stopRequested(
        { onFirst: () => new Promise(() => {}), onHandOver: () => takenOver.promise },
        source,
      );
      source.emit("SIGUSR2");
      takenOver.resolve(true);
      expect(await ended).toBe(0);
      expect(source.listenerCount("SIGUSR2")).toBe(0);
    },
  );

  test.if(process.platform !== "win32")(
    "SIGUSR2 changes nothing if no other has, and can be sent again",
    async () => {
      const source = new EventEmitter();
      let asked = 0;
      const ended = stopRequested(
        { onFirst: () => Promise.resolve(), onHandOver: () => Promise.resolve(++asked > 5) },
        source,
      );
      source.emit("SIGUSR2");
      source.emit("SIGUSR2");
      await Promise.resolve();
      source.emit("SIGTERM");
      source.emit("SIGUSR2");
      expect([await ended, asked]).toEqual([0, 2]);
    },
  );

  test.if(process.platform !== "win32")("a hang-up reloads, but no longer once it drains", async () => {
    const source = new EventEmitter();
    const drained = Promise.withResolvers<void>();
    let reloads = 0;
    const ended = stopRequested({ onFirst: () => drained.promise, onReload: () => reloads++ }, source);
    source.emit("SIGHUP");
    source.emit("SIGHUP");
    source.emit("SIGTERM");
    source.emit("SIGHUP");
    drained.resolve();
    expect([await ended, reloads]).toEqual([0, 2]);
  });

  test.if(process.platform !== "win32")("a hang-up stops a command that reads nothing again", async () => {
    const source = new EventEmitter();
    const ended = stopRequested({ onFirst: () => Promise.resolve() }, source);
    source.emit("SIGHUP");
    expect(await ended).toBe(0);
  });

  test("nobody listens once the command has ended", async () => {
    const source = new EventEmitter();
    const ended = stopRequested({ onFirst: () => Promise.resolve() }, source);
    source.emit("SIGINT");
    await ended;
    expect(source.eventNames()).toEqual([]);
  });
});
