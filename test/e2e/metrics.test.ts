import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "../commands/reading.ts";
import { scrape } from "../server/metrics/samples.ts";
import { startModelrelay } from "./program.ts";

/** Asks for the metrics of a relay that was started so: without a token, and with each of these. */
async function statuses(args: string[], tokens: string[]): Promise<number[]> {
  using home = new TempDir();
  const dataDir = join(home.path, "data");
  await using serve = startModelrelay(["serve", "--data-dir", dataDir, ...args]);
  const [, url = ""] = await serve.until(/The relay listens url=(\S+)/);
  const asked = [undefined, ...tokens].map(async (token) => {
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const response = await fetch(`${url}/metrics`, { headers, keepalive: false });
    await response.text();
    return response.status;
  });
  return await Promise.all(asked);
}

describe("GET /metrics of the executable", () => {
  test("is open on an address of this machine, and not on one that others can reach", async () => {
    const there = await Promise.all([
      statuses(["--listen", "127.0.0.1:0"], []),
      statuses(["--listen", "0.0.0.0:0", "--allow-anonymous"], ["guess"]),
      statuses(["--listen", "127.0.0.1:0", "--trusted-proxy", "127.0.0.1"], []),
    ]);
    expect(there).toEqual([[200], [401, 401], [401]]);
  });

  test("is told to who shows the token, wherever the relay listens", async () => {
    using dir = new TempDir();
    const file = join(dir.path, "token");
    writeFileSync(file, "from-a-file\n", { mode: 0o600 });
    const there = await Promise.all([
      statuses(["--listen", "127.0.0.1:0", "--metrics-token", "typed"], ["typed", "other"]),
      statuses(["--listen", "0.0.0.0:0", "--metrics-token-file", file], ["from-a-file", "typed"]),
    ]);
    expect(there).toEqual([
      [401, 200, 401],
      [401, 200, 401],
    ]);
  });

  test("says what is running, that its database serves, and how its event loop does", async () => {
    using home = new TempDir();
    await using serve = startModelrelay(["serve", "--data-dir", home.path, "--listen", "127.0.0.1:0"]);
    const [, url = ""] = await serve.until(/The relay listens url=(\S+)/);
    const samples = await scrape(url);
    const [build = ""] = [...samples.keys()].filter((series) => series.startsWith("modelrelay_build_info"));
    expect(build).toMatch(/commit="[0-9a-f]{7,}(-dirty)?"|commit="unknown"/);
    expect(samples.get("process_resident_memory_bytes")).toBeGreaterThan(1e7);
    const store = ["database_up", "usage_waiting_bytes", "usage_lost_total"];
    expect(store.map((name) => samples.get(`modelrelay_${name}`))).toEqual([1, 0, 0]);
    for (;;) {
      const lag = (await scrape(url)).get("modelrelay_event_loop_lag_max_seconds");
      if (lag === undefined) continue;
      expect(lag).toBeLessThan(5);
      break;
    }
  });
});
