import { UsageError } from "../base/errors.ts";
import { defineOptions, type Config } from "./options.ts";
import { configOption, logLevelOption } from "./shared-options.ts";
import type { Reading } from "./read-config.ts";
import { isLoopback, listenAddress } from "./value-kinds.ts";

export const demoOptions = defineOptions({
  listen: {
    env: "LISTEN_ADDR",
    default: "127.0.0.1:8080",
    hint: "HOST:PORT",
    help: "Address to listen on, of this machine only; port 0 takes a free one",
    schema: listenAddress,
  },
  logLevel: { ...logLevelOption, default: "warn" },
  config: configOption("demo"),
});

export type DemoConfig = Config<typeof demoOptions>;

/** @throws {UsageError} for an address that other machines can reach: the demo asks nobody for a key */
export function checkDemo({ config, origins }: Reading<typeof demoOptions>): void {
  if (isLoopback(config.listen.host)) return;
  throw new UsageError(
    `Cannot run the demo on "${config.listen.host}" (${origins.listen}): other machines can reach it, and the demo asks nobody for a key`,
    {
      action: "Listen on 127.0.0.1, or use modelrelay serve and modelrelay worker",
    },
  );
}
