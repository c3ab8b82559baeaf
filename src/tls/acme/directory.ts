import { z } from "zod";
import { AcmeError } from "./error.ts";
import { explainProblem, readProblem } from "./problem.ts";
import { caName, exchange, type Reply, type Route } from "./transport.ts";
import { parseRetryAfter } from "../../base/retry-after.ts";

/** RFC 8555 §7.1.1, with `renewalInfo` of RFC 9773 and `profiles` of the profiles extension. */
const directorySchema = z.object({
  newNonce: z.url(),
  newAccount: z.url(),
  newOrder: z.url(),
  revokeCert: z.url().optional(),
  renewalInfo: z.url().optional(),
  meta: z
    .object({
      termsOfService: z.string().optional(),
      caaIdentities: z.array(z.string()).optional(),
      externalAccountRequired: z.boolean().optional(),
      profiles: z.record(z.string(), z.unknown()).optional(),
    })
    .optional(),
});

export type Directory = z.infer<typeof directorySchema> & {
  url: string;
  /** As it came, so that nobody has to ask for it twice. */
  reply: Reply;
};

/** A body as JSON if it is, else as text. */
export function readBody(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return body;
  }
}

/**
 * Asks a CA for its directory.
 *
 * @throws {AcmeError} if it cannot be reached, refuses, or speaks no ACME
 */
export async function readDirectory(url: string, route: Route): Promise<Directory> {
  const reply = await exchange(url, { method: "GET" }, route);
  const body = readBody(reply.body);
  const parsed = directorySchema.safeParse(body);
  if (reply.status === 200 && parsed.success) return { ...parsed.data, url, reply };
  const nowMs = route.clock.wall();
  if (reply.status === 429 || reply.status >= 500) {
    throw explainProblem(readProblem(body, reply.status), {
      doing: `use the CA at ${caName(url)}`,
      names: [],
      nowMs,
      retryAfterMs: parseRetryAfter(reply.headers["retry-after"], nowMs),
    });
  }
  throw new AcmeError(
    `Cannot use the CA at ${url}: it answers with HTTP ${reply.status} and no ACME directory`,
    {
      type: "notAcme",
      action: "Give the full address of the CA's directory with --acme-directory",
      permanent: true,
    },
  );
}
