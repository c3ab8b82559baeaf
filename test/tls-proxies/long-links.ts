import { makeAuthority } from "./authority.ts";
import { PROXY_KINDS } from "./rig.ts";
import { openLink, startSilentUpstream } from "./silent-link.ts";

// npx bun test/tls-proxies/long-links.ts [SECONDS]: holds a silent WebSocket and a silent request through
// each proxy with the files in examples/ as they are, for longer than the proxies do by default (nginx cuts
// both after 60 s). Too long for the suite, whose tests shorten the times instead.

const seconds = Number(process.argv[2] ?? 400);
/** Within the time that the examples give to a request. */
const REQUEST_SECS = Math.min(seconds, 350);

async function outcome(what: Promise<string>): Promise<string> {
  try {
    return await what;
  } catch (error) {
    process.exitCode = 1;
    return `FAILED: ${String(error)}`;
  }
}

using authority = makeAuthority();
const runs = PROXY_KINDS.map(async (kind) => {
  await using upstream = startSilentUpstream();
  await using proxy = await kind.start({
    config: await kind.example(),
    upstreamPort: upstream.port,
    certificate: authority.certificate,
  });
  const link = await openLink(proxy, authority);
  const request = fetch(`${proxy.url}/v1/chat/completions`, {
    method: "POST",
    body: "{}",
    tls: { ca: authority.caPem },
    proxy: "",
    timeout: false,
  }).then((response) => response.text());
  const answered = outcome(request);
  await Bun.sleep(REQUEST_SECS * 1_000);
  upstream.answer();
  process.stdout.write(`${kind.name}: request after ${REQUEST_SECS} s of silence: ${await answered}\n`);
  await Bun.sleep((seconds - REQUEST_SECS) * 1_000);
  process.stdout.write(
    `${kind.name}: link after ${seconds} s of silence: ${await outcome(link.echo("still there"))}\n`,
  );
});
await Promise.all(runs);
