import type { Log } from "../base/log.ts";
import type { ListenAddress } from "./config.ts";
import { listen } from "./listener.ts";
import { createPlainPort } from "./plain-port.ts";

/**
 * Answers a CA's questions, and nothing else, for as long as an order runs outside a relay.
 *
 * @throws {Problem} if the address cannot be had
 */
export function serveChallenges(
  address: ListenAddress,
  challenge: (token: string) => Promise<string | undefined>,
  log: Log,
): { stop(): Promise<void> } {
  return listen(address, 0, {
    request: createPlainPort({ challenge, httpsPort: 443, domains: [], log }),
    socket: () => {
      throw new Error("Nothing is upgraded here");
    },
  });
}
