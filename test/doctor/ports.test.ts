import { describe, expect, test } from "bun:test";
import { createSocket } from "node:dgram";
import { findCommand, holdersOf } from "../../src/doctor/port-holder.ts";
import { checkPort, type WantedPort } from "../../src/doctor/ports.ts";
import {
  AS_NOBODY,
  canBeNobody,
  doctor,
  found,
  machine,
  onLinux,
  privateDir,
  SystemFiles,
} from "./machine.ts";

const here = machine();

function wanted(port: number, more: Partial<WantedPort> = {}): WantedPort {
  return { host: "127.0.0.1", port, carrier: "tcp", flag: "--listen", ...more };
}

function listener(hostname = "127.0.0.1", port = 0) {
  return Bun.serve({ hostname, port, reusePort: false, fetch: () => new Response() });
}

/** A port that was free a moment ago. */
async function freePort(hostname = "127.0.0.1"): Promise<number> {
  const server = listener(hostname);
  const { port } = server;
  await server.stop(true);
  return port!;
}

/** What the kernel lists of a port that listens, and the number of its socket. */
async function entryOf(port: number): Promise<{ line: string; inode: string | undefined }> {
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")} 00000000:0000 0A`;
  const lines = (await Bun.file("/proc/net/tcp").text()).split("\n");
  const line = lines.find((text) => text.includes(local)) ?? "";
  return { line, inode: line.trim().split(/\s+/)[9] };
}

describe("A port", () => {
  test("that nobody has is free, and is so afterwards as well", async () => {
    const port = await freePort();
    expect(await checkPort(here, wanted(port), undefined)).toEqual({
      target: `127.0.0.1:${port} (--listen)`,
      ok: true,
      details: "free",
    });
    await listener("127.0.0.1", port).stop(true);
  });

  test("of another address of the machine is not in the way", async () => {
    using held = listener("127.0.0.2");
    expect(await checkPort(here, wanted(held.port!), undefined)).toMatchObject({ ok: true });
  });

  test.if(onLinux)("is told with the program that has it, on every address as well", async () => {
    using held = listener();
    const port = held.port!;
    for (const host of ["127.0.0.1", "0.0.0.0", "::"]) {
      const outcome = await checkPort(here, wanted(port, { host }), undefined);
      expect(outcome.ok).toBe(false);
      expect(outcome.details).toMatch(
        new RegExp(`^held by \\S+ \\(process ${process.pid}, ${process.execPath}\\)$`),
      );
      expect(outcome.action).toMatch(/^Stop \S+, or choose another port with --listen$/);
    }
  });

  test.if(onLinux)("is told where another has it on every address, or shares it with its like", async () => {
    for (const hostname of ["0.0.0.0", "::"]) {
      using held = Bun.serve({ hostname, port: 0, reusePort: true, fetch: () => new Response() });
      const outcome = await checkPort(here, wanted(held.port!), undefined);
      expect(outcome).toMatchObject({
        ok: false,
        details: expect.stringContaining(`process ${process.pid}`),
      });
    }
  });

  test.if(onLinux)("is told with the program behind an IPv6 address", async () => {
    using held = listener("::1");
    const outcome = await checkPort(here, wanted(held.port!, { host: "::1" }), undefined);
    expect(outcome).toMatchObject({ target: `[::1]:${held.port} (--listen)`, ok: false });
    expect(outcome.details).toContain(`process ${process.pid}`);
  });

  test.if(onLinux)("of the relay that runs here is where it should be", async () => {
    using held = listener();
    const running = { url: "http://127.0.0.1:1", pid: process.pid };
    expect(await checkPort(here, wanted(held.port!), running)).toMatchObject({
      ok: true,
      details: "held by the relay that runs here",
    });
    const other = await checkPort(here, wanted(held.port!), { ...running, pid: 1 });
    expect(other.ok).toBe(false);
  });

  test.if(onLinux)("for UDP is another than that for TCP", async () => {
    // A number that the system gives for UDP may be in use for TCP, by whatever else runs here.
    const port = await freePort();
    const socket = createSocket("udp4");
    await new Promise<void>((resolve) => socket.bind(port, "127.0.0.1", resolve));
    const udp = wanted(port, { carrier: "udp", flag: "--https-port" });
    const held = await checkPort(here, udp, undefined);
    expect(held).toMatchObject({ target: `127.0.0.1:${port} (UDP) (--https-port)`, ok: false });
    expect(held.details).toContain(`process ${process.pid}`);
    expect((await checkPort(here, wanted(port), undefined)).ok).toBe(true);
    await new Promise<void>((resolve) => socket.close(resolve));
    expect((await checkPort(here, udp, undefined)).ok).toBe(true);
  });

  test("of an address that the machine does not have says so", async () => {
    expect(await checkPort(here, wanted(8080, { host: "192.0.2.1" }), undefined)).toMatchObject({
      ok: false,
      details: "this machine has no such address",
      action: "Correct --listen; without a host it is every address of the machine",
    });
  });

  test.if(canBeNobody)(
    "below 1024 is refused to a user without rights, and who has one is kept from him",
    async () => {
      using held = listener();
      using dir = privateDir();
      const run = {
        under: AS_NOBODY,
        env: { MODELRELAY_DATA_DIR: `${dir.path}/none`, HOME: "/nonexistent" },
      };
      const [low, foreign] = await Promise.all([
        doctor(["serve", "--listen", "127.0.0.1:81"], run),
        doctor(["serve", "--listen", `127.0.0.1:${held.port}`], run),
      ]);
      expect(found(low, "port")[0]).toStartWith(
        "FAIL 127.0.0.1:81 (--listen): this user may not take a port below 1024 → ",
      );
      expect(found(foreign, "port")[0]).toBe(
        `FAIL 127.0.0.1:${held.port} (--listen): held by a program of another user → See which one with: sudo ss -ltnp 'sport = :${held.port}'`,
      );
      expect([low.code, foreign.code]).toEqual([1, 1]);
    },
  );

  test.if(onLinux)(
    "is told in one line that moves no terminal, whatever the program calls itself",
    async () => {
      using held = listener();
      const port = held.port!;
      const { line, inode } = await entryOf(port);
      using files = new SystemFiles({
        "proc/net/tcp": `  sl  local_address\n${line}\n`,
        "proc/41/comm": "x\u001b[2J\n  → run this\n",
      });
      await Bun.$`mkdir ${files.path}/proc/41/fd && ln -s socket:[${inode}] ${files.path}/proc/41/fd/9`.quiet();
      const outcome = await checkPort(machine({ root: files.path }), wanted(port), undefined);
      expect(outcome.details).toBe("held by x?[2J?  → run this (process 41)");
      expect(outcome.action).toStartWith("Stop x?[2J?  → run this, or ");
    },
  );

  test.if(onLinux)("that a program called modelrelay has belongs to another data directory", async () => {
    using held = listener();
    const port = held.port!;
    const { line, inode } = await entryOf(port);
    using files = new SystemFiles({
      "proc/net/tcp": `  sl  local_address\n${line}\n`,
      "proc/41/comm": "modelrelay\n",
    });
    await Bun.$`mkdir ${files.path}/proc/41/fd && ln -s socket:[${inode}] ${files.path}/proc/41/fd/9`.quiet();
    const outcome = await checkPort(machine({ root: files.path }), wanted(port), undefined);
    expect(outcome.details).toBe("held by modelrelay (process 41), with another data directory");
    expect(outcome.action).toStartWith("Name its directory with --data-dir");
  });

  test("is asked for with a command of the system where this program cannot tell", async () => {
    const port = { host: "::", port: 443, carrier: "tcp" } as const;
    expect(holdersOf(machine({ platform: "darwin" }), port)).toBeUndefined();
    expect(findCommand("darwin", port)).toBe("sudo lsof -nP -iTCP:443 -sTCP:LISTEN");
    expect(findCommand("win32", { ...port, carrier: "udp" })).toBe("netstat -ano -p udp | findstr :443");
    using held = listener();
    const outcome = await checkPort(machine({ platform: "darwin" }), wanted(held.port!), undefined);
    expect(outcome.action).toBe(`See which one with: sudo lsof -nP -iTCP:${held.port} -sTCP:LISTEN`);
  });
});

describe("The ports of the settings", () => {
  test("are those that serve takes, and none that the system chooses", async () => {
    using dir = privateDir();
    const tls = ["--tls-self-signed", "--https-port=127.0.0.1:8443", "--http-port=127.0.0.1:8079", "--http3"];
    const data = ["--data-dir", dir.path];
    const [plain, secure, both, none] = await Promise.all([
      doctor(data),
      doctor([...tls, ...data]),
      doctor([...tls, ...data, "--http-port=off", "--listen=127.0.0.1:8078"].filter((arg) => arg !== tls[2])),
      doctor([...data, "--listen=127.0.0.1:0"]),
    ]);
    const targets = (report: typeof plain): string[] =>
      report.checks.filter(({ step }) => step === "port").map(({ target }) => target);
    expect(targets(plain)).toEqual(["127.0.0.1:8080 (--listen)"]);
    expect(targets(secure)).toEqual([
      "127.0.0.1:8443 (--https-port)",
      "127.0.0.1:8443 (UDP) (--https-port)",
      "127.0.0.1:8079 (--http-port)",
    ]);
    expect(targets(both)).toEqual([
      "127.0.0.1:8078 (--listen)",
      "127.0.0.1:8443 (--https-port)",
      "127.0.0.1:8443 (UDP) (--https-port)",
    ]);
    expect(targets(none)).toEqual([]);
  });
});
