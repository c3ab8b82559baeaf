import { systemClock } from "../../../src/base/clock.ts";
import { HttpClient } from "../../../src/worker/http/http-client.ts";
import { Asked } from "./asked.ts";

/** Sends so many bytes to each of the addresses in a process of its own, which trusts what its environment says. */
const [bytes = "", ...addresses] = process.argv.slice(2);
for (const address of addresses) {
  const client = new HttpClient(new URL(address), systemClock);
  const { body, error } = await new Asked(client, { body: new Uint8Array(Number(bytes)) }).outcome;
  client.close();
  process.stdout.write(`${error?.words ?? body}\n`);
}
