import { ensureHttpLimit } from "../../src/worker/http-limit.ts";

/**
 * Runs as a process of its own: prints its process id, its limit and its arguments, and then asks the
 * address in its first argument as often at once as its second says.
 */
process.stdout.write(`pid ${process.pid}\n`);
await ensureHttpLimit();

const [address = "", times = "0", ...rest] = process.argv.slice(2);
process.stdout.write(`${JSON.stringify({ limit: process.env["BUN_CONFIG_MAX_HTTP_REQUESTS"], rest })}\n`);
await Promise.all(
  Array.from({ length: Number(times) }, async () => (await fetch(address, { proxy: false })).text()),
);
