import { systemClock } from "../../src/base/clock.ts";
import {
  checkDomain,
  type DomainCheckOptions,
  type DomainResult,
  type DomainStep,
} from "../../src/tls/check/index.ts";

export const DOMAIN = "relay.example.com";

/** What a check said, by step. */
export interface Findings {
  all: DomainResult[];
  of(step: DomainStep): DomainResult[];
  /** The only result of a step. */
  one(step: DomainStep): DomainResult;
}

/** Checks the name of the tests at ports of this machine; nothing but what is asked for takes long. */
export async function look(
  ports: { http?: number; https: number },
  more: Partial<DomainCheckOptions> = {},
): Promise<Findings> {
  const all = await checkDomain(DOMAIN, {
    clock: systemClock,
    waitMs: 0,
    httpPort: ports.http ?? ports.https,
    httpsPort: ports.https,
    lookup: () => Promise.resolve(["127.0.0.1"]),
    ...more,
  });
  const of = (step: DomainStep) => all.filter((result) => result.step === step);
  return {
    all,
    of,
    one(step) {
      const [first, ...others] = of(step);
      if (first === undefined || others.length > 0)
        throw new Error(`${others.length + 1} results of "${step}": ${JSON.stringify(all, undefined, 1)}`);
      return first;
    },
  };
}
