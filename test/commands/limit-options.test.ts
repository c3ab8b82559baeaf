import { describe, expect, test } from "bun:test";
import { limitsOf } from "../../src/commands/limit-options.ts";
import { isPublic, serveOptions } from "../../src/commands/serve-options.ts";
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

  test("are whole numbers", () => {
    expect(mistake(() => serve(["--anonymous-tpm=10k"])).message).toBe(
      'Cannot use "10k" as anonymous-tpm (flag --anonymous-tpm): expected a whole number from 0 to 1000000000',
    );
  });
});
