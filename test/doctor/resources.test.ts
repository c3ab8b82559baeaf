import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { checkMemory, checkOpenFiles, type Demand } from "../../src/doctor/resources.ts";
import { doctor, found, isRoot, machine, onLinux, privateDir, SystemFiles } from "./machine.ts";

const DEMAND: Demand = { queue: 100, heldBytes: 1024 ** 3, concurrency: undefined };
const RAISE =
  "Raise it: LimitNOFILE=65536 in the unit, ulimit -n 65536 in a shell, --ulimit nofile=65536 for a container";

describe.if(onLinux && Bun.which("prlimit") !== null)("The limit of open files", () => {
  async function under(limit: string, ...args: string[]): Promise<{ lines: string[]; code: number }> {
    using dir = privateDir();
    const report = await doctor(["serve", "--listen=127.0.0.1:0", "--data-dir", dir.path, ...args], {
      under: ["prlimit", `--nofile=${limit}`],
    });
    return { lines: found(report, "open files"), code: report.code };
  }

  test("is told where it is ample, and counts as high as it can be raised", async () => {
    expect(await under("1024:16384")).toEqual({ lines: ["ok 16384 may be open at once"], code: 0 });
  });

  test("is a warning where it is low, and a failure where not even the queue fits", async () => {
    expect(await under("1024:1024")).toEqual({
      lines: [
        `warn 1024 may be open at once: few for a relay, whose clients and workers each take one → ${RAISE}`,
      ],
      code: 0,
    });
    expect(await under("200:200")).toEqual({
      lines: [`FAIL 200 may be open at once; 228 are needed → ${RAISE}`],
      code: 1,
    });
    expect((await under("1024:1024", "--max-queue-len=2000")).lines[0]).toStartWith("FAIL 1024");
  });

  test("of a program that is only looking is the one to which it raises its own", () => {
    const limits = "Max open files            1024                 16384                files     \n";
    using files = new SystemFiles({ "proc/self/limits": limits });
    expect(checkOpenFiles(machine({ root: files.path }), DEMAND, undefined).details).toBe(
      "16384 may be open at once",
    );
  });

  test("of a worker is what its requests take", async () => {
    const limited = { under: ["prlimit", "--nofile=500:500"] };
    const args = ["worker", "--proxy-url=http://127.0.0.1:1"];
    const [few, many] = await Promise.all([
      doctor(args, limited),
      doctor([...args, "--max-concurrency=300"], limited),
    ]);
    expect(found(few, "open files")).toEqual(["ok 500 may be open at once"]);
    expect(found(many, "open files")[0]).toStartWith("FAIL 500 may be open at once; 728 are needed → ");
  });

  test("of a relay that runs is its own, with what it has open", async () => {
    await using child = Bun.spawn(["prlimit", "--nofile=220:220", "sh", "-c", "echo; read _"], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    await child.stdout.getReader().read();
    const running = { url: "http://127.0.0.1:1", pid: child.pid };
    const outcome = checkOpenFiles(machine(), DEMAND, running);
    expect(outcome.target).toBe(`the relay, process ${child.pid}`);
    expect(outcome.details).toMatch(/^220 may be open at once, \d+ are; 228 are needed$/);
  });

  test("is nearly used up where few are left", () => {
    const links = Object.fromEntries(Array.from({ length: 3_700 }, (_, at) => [`proc/7/fd/${at}`, ""]));
    using files = new SystemFiles({
      "proc/7/limits":
        "Limit  Soft Limit  Hard Limit  Units\nMax open files            4500                 9000                 files     \n",
      ...links,
    });
    const running = { url: "http://127.0.0.1:1", pid: 7 };
    expect(checkOpenFiles(machine({ root: files.path }), DEMAND, running)).toMatchObject({
      ok: false,
      details: "4500 may be open at once, 3700 are",
    });
  });
});

describe("Memory", () => {
  const MEMORY = "MemTotal:        8388608 kB\nMemFree:         100000 kB\n";
  const GIB = 1024 ** 3;

  /** @param limits files of control groups */
  function look(groups: string, limits: Record<string, string>, demand = DEMAND) {
    using files = new SystemFiles({ "proc/meminfo": MEMORY, "proc/self/cgroup": groups, ...limits });
    return checkMemory(machine({ root: files.path, platform: "linux" }), demand, undefined);
  }

  test("without a limit is all that there is", () => {
    const outcome = look("0::/user.slice\n", { "sys/fs/cgroup/user.slice/memory.max": "max\n" });
    expect(outcome).toMatchObject({ ok: true });
    expect(outcome.details).toMatch(/^8 GiB; \d+ processors?$/);
    expect(outcome.warning).toBeUndefined();
  });

  test("is the least of the limits above a process", () => {
    const outcome = look("0::/a.slice/b.service\n", {
      "sys/fs/cgroup/a.slice/memory.max": `${GIB / 2}\n`,
      "sys/fs/cgroup/a.slice/b.service/memory.max": `${4 * GIB}\n`,
    });
    expect(outcome).toMatchObject({ ok: true, warning: true });
    expect(outcome.details).toContain("512 MiB of 8 GiB, by a limit of its control group; ");
    expect(outcome.details).toEndWith("bodies and answers alone may take 1 GiB (--max-inflight-bytes)");
    expect(outcome.action).toBe("Raise the limit, or start serve with --max-inflight-bytes 320MiB");
  });

  test("is limited by the older kind of groups, and by that of a container without its own view", () => {
    const old = { "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": `${GIB}\n` };
    expect(look("4:memory:/docker/x\n0::/\n", old).details).toContain("1 GiB of 8 GiB");
    const inside = { "sys/fs/cgroup/memory/memory.limit_in_bytes": `${GIB}\n` };
    expect(look("4:cpu,memory:/docker/x\n", inside).details).toContain("1 GiB of 8 GiB");
    const none = { "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n" };
    expect(look("4:memory:/\n", none).details).toStartWith("8 GiB; ");
  });

  test("that a relay cannot start in is a failure", () => {
    const tiny = { "sys/fs/cgroup/memory.max": `${128 * 1024 ** 2}\n` };
    expect(look("0::/\n", tiny)).toMatchObject({ ok: false, action: "Give it at least 192 MiB" });
    // A worker holds no bodies of others.
    const worker = { queue: undefined, heldBytes: undefined, concurrency: 1 };
    expect(
      look("0::/\n", { "sys/fs/cgroup/memory.max": `${256 * 1024 ** 2}\n` }, worker).warning,
    ).toBeUndefined();
  });

  test("tells a processor that lacks what the usual build needs", () => {
    using files = new SystemFiles({ "proc/meminfo": MEMORY, "proc/cpuinfo": "flags\t\t: fpu sse4_2 avx\n" });
    expect(checkMemory(machine({ root: files.path }), DEMAND, undefined).details).toEndWith(" without AVX2");
  });

  const GROUP = `/sys/fs/cgroup/memory/modelrelay-test-${process.pid}`;
  test.if(canLimit())("of a real control group is found from within", async () => {
    using dir = privateDir();
    const report = await doctor(["--listen=127.0.0.1:0", "--data-dir", dir.path], {
      under: ["sh", "-c", `echo $$ > ${GROUP}/cgroup.procs && exec "$@"`, "sh"],
    });
    expect(found(report, "memory")[0]).toStartWith("warn 600 MiB of ");
  });

  afterAll(() => {
    if (existsSync(GROUP)) rmdirSync(GROUP);
  });

  /** Makes the group, where this machine lets its tests do so. */
  function canLimit(): boolean {
    if (!isRoot || !onLinux) return false;
    try {
      mkdirSync(GROUP);
      writeFileSync(`${GROUP}/memory.limit_in_bytes`, String(600 * 1024 ** 2));
      return true;
    } catch {
      return false;
    }
  }
});
