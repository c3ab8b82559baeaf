import type { Limits } from "../server/client.ts";
import type { OwnLimits } from "../server/limits/request-limits.ts";
import { defineOptions, type Config, type OptionSpec } from "./options.ts";
import { integer } from "./value-kinds.ts";

/** More than any machine serves; a larger number is a slip. */
const MOST = 1_000_000_000;

const limit = {
  hint: "NUMBER",
  reload: true,
  schema: integer(0, MOST),
} as const satisfies Partial<OptionSpec>;

/**
 * What one address may use that shows no key, on an address that others can reach, unless the operator
 * says otherwise: what one person needs, and not enough to take the relay from everybody else.
 *
 * A program with several requests a second is no person any more. 200,000 tokens let through any single
 * request that models take today (131,072), and are about what one GPU reads in a minute. With 4 at once
 * it takes 25 addresses to fill a queue of 100.
 */
const ANONYMOUS = { rpm: 60, tpm: 200_000, concurrency: 4 } as const;

const anonymousText = (value: number) => `none on 127.0.0.1; ${value} on an address that others can reach`;

export const limitOptions = defineOptions({
  anonymousRpm: {
    ...limit,
    env: "MODELRELAY_ANONYMOUS_RPM",
    help: "Requests per minute of one address that shows no key; 0 for no limit",
    defaultText: anonymousText(ANONYMOUS.rpm),
  },
  anonymousTpm: {
    ...limit,
    env: "MODELRELAY_ANONYMOUS_TPM",
    help: "Tokens per minute of one address that shows no key, of prompts and answers; 0 for no limit",
    defaultText: anonymousText(ANONYMOUS.tpm),
  },
  anonymousConcurrency: {
    ...limit,
    env: "MODELRELAY_ANONYMOUS_CONCURRENCY",
    help: "Requests at once of one address that shows no key; 0 for no limit",
    defaultText: anonymousText(ANONYMOUS.concurrency),
  },
  relayRpm: {
    ...limit,
    env: "MODELRELAY_RELAY_RPM",
    default: "0",
    help: "Requests per minute of all clients together; 0 for no limit",
  },
  relayTpm: {
    ...limit,
    env: "MODELRELAY_RELAY_TPM",
    default: "0",
    help: "Tokens per minute of all clients together, of prompts and answers; 0 for no limit",
  },
  relayConcurrency: {
    ...limit,
    env: "MODELRELAY_RELAY_CONCURRENCY",
    default: "0",
    help: "Requests at once of all clients together, those that wait for a worker included; 0 for no limit",
  },
});

/** @param isPublic whether others than programs on this machine can come */
export function limitsOf(config: Config<typeof limitOptions>, isPublic: boolean): OwnLimits {
  const preset = isPublic ? ANONYMOUS : { rpm: 0, tpm: 0, concurrency: 0 };
  return {
    anonymous: limits(
      config.anonymousRpm ?? preset.rpm,
      config.anonymousTpm ?? preset.tpm,
      config.anonymousConcurrency ?? preset.concurrency,
    ),
    relay: limits(config.relayRpm, config.relayTpm, config.relayConcurrency),
  };
}

function limits(requestsPerMinute: number, tokensPerMinute: number, concurrency: number): Limits {
  return {
    ...(requestsPerMinute > 0 && { requestsPerMinute }),
    ...(tokensPerMinute > 0 && { tokensPerMinute }),
    ...(concurrency > 0 && { concurrency }),
  };
}
