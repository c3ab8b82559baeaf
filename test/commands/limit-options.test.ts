import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { limitsOf } from "../../src/commands/limit-options.ts";
import { isPublic, serveOptions } from "../../src/commands/serve-options.ts";
import { DEFAULT_ANSWER_TOKENS } from "../../src/server/limits/estimate.ts";
import { MAX_ADDRESSES } from "../../src/server/limits/limiter.ts";
import { mistake, reader } from "./reading.ts";

const serve = reader("serve", serveOptions);

function limits(...args: string[]) {
  const { config } = serve(args);
  return limitsOf(config, isPublic(config));
}

describe("Limits", () => {
  test("are none where only programs on this machine can come", () => {
    expect(limits()).toEqual({ anonymous: {}, relay: {} });
  });

  test("are some for whoever shows no key where others can come", () => {
    expect(limits("--listen=:80", "--allow-anonymous")).toEqual({
      anonymous: { requestsPerMinute: 60, tokensPerMinute: 200_000, concurrency: 4 },
      relay: {},
    });
  });

  test("are what the operator says, in either place, each by itself, and 0 for none", () => {
    expect(limits("--anonymous-rpm=5", "--relay-tpm=1000")).toEqual({
      anonymous: { requestsPerMinute: 5 },
      relay: { tokensPerMinute: 1_000 },
    });
    expect(
      limits("--listen=:80", "--anonymous-rpm=0", "--anonymous-concurrency=1", "--relay-concurrency=9"),
    ).toEqual({
      anonymous: { tokensPerMinute: 200_000, concurrency: 1 },
      relay: { concurrency: 9 },
    });
  });

  test("are documented as they are", () => {
    const page = readFileSync(new URL("../../docs/limits.md", import.meta.url), "utf8");
    const { anonymous } = limits("--listen=:80", "--allow-anonymous");
    expect(page).toContain(`| \`--anonymous-rpm\` | ${anonymous.requestsPerMinute} |`);
    expect(page).toContain(`| \`--anonymous-tpm\` | ${anonymous.tokensPerMinute?.toLocaleString("en")} |`);
    expect(page).toContain(`| \`--anonymous-concurrency\` | ${anonymous.concurrency} |`);
    expect(page).toContain(`is taken for ${DEFAULT_ANSWER_TOKENS.toLocaleString("en")}, or for less`);
    expect(page).toContain(`At most ${MAX_ADDRESSES.toLocaleString("en")} addresses`);
  });

  test("are whole numbers", () => {
    expect(mistake(() => serve(["--anonymous-tpm=10k"])).message).toBe(
      'Cannot use "10k" as anonymous-tpm (flag --anonymous-tpm): expected a whole number from 0 to 1000000000',
    );
  });
});
