import { describe, expect, test } from "bun:test";
import { checkServe, serveOptions } from "../../src/commands/serve-options.ts";
import { mistake, reader } from "./reading.ts";

const serve = reader("serve", serveOptions);

describe("--log-bodies", () => {
  test("is refused with a retention of 0, wherever both come from", () => {
    const from = { MODELRELAY_LOG_BODIES: "true", MODELRELAY_LOG_BODIES_RETENTION: "0" };
    expect(mistake(() => checkServe(serve([], from)))).toEqual({
      message:
        "Cannot keep bodies (log-bodies, environment variable MODELRELAY_LOG_BODIES) for no time (log-bodies-retention, environment variable MODELRELAY_LOG_BODIES_RETENTION)",
      action: "Give a time such as 7d; bodies are never kept for good",
    });
  });

  test("is accepted with any other, and without it a retention of 0 removes what is there", () => {
    for (const args of [
      ["--log-bodies"],
      ["--log-bodies", "--log-bodies-retention=1s"],
      ["--log-bodies-retention=0"],
    ])
      expect(() => checkServe(serve(args))).not.toThrow();
  });

  test("keeps from 1 KiB to 2 MiB of each body", () => {
    const limit = (text: string) => serve([`--log-bodies-limit=${text}`]).config.logBodiesLimit;
    expect([limit("1KiB"), limit("2MiB")]).toEqual([1024, 2_097_152]);
    for (const text of ["1023", "3MiB", "0"])
      expect(mistake(() => limit(text)).message).toContain("a size from 1 KiB to 2 MiB");
  });
});
