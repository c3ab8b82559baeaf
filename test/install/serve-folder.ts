import { serveReleases } from "./release-server.ts";

// bun serve-folder.ts DIR: serves a folder until it is killed, and prints the address.

const { url } = await serveReleases(process.argv[2] ?? ".");
process.stdout.write(`${url}\n`);
