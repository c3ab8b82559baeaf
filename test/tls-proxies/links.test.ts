import { afterAll, beforeAll, expect, test } from "bun:test";
import { connect } from "node:tls";
import { startCaddy } from "../support/caddy.ts";
import { lacksPart } from "../support/parts.ts";
import { substitute } from "../support/proxy-process.ts";
import { makeAuthority, type Authority } from "./authority.ts";
import { CADDY, HAPROXY, NGINX } from "./rig.ts";
import { openLink, startSilentUpstream, type SilentUpstream } from "./silent-link.ts";

/** The proxies' times for a request and for a link, as they stand in the examples. */
const REQUEST_TIME = "360s";
const LINK_TIME = "86400s";
const SHORT = "1s";

let authority: Authority;
let upstream: SilentUpstream;
beforeAll(() => {
  authority = makeAuthority();
  upstream = startSilentUpstream();
});
afterAll(async () => {
  await upstream[Symbol.asyncDispose]();
  authority[Symbol.dispose]();
});

for (const kind of [NGINX, HAPROXY]) {
  // The second proxy shows how long it takes until one without the setting cuts a silent link.
  test.skipIf(lacksPart(kind.name))(
    `${kind.name} keeps a silent link by the time that is set for links, where its time for requests has run out`,
    async () => {
      const config = substitute(await kind.example(), [[REQUEST_TIME, SHORT]]);
      const options = { upstreamPort: upstream.port, certificate: authority.certificate };
      await using proxy = await kind.start({ ...options, config });
      await using cutting = await kind.start({
        ...options,
        config: substitute(config, [[LINK_TIME, SHORT]]),
      });
      const link = await openLink(proxy, authority);
      await (
        await openLink(cutting, authority)
      ).closed;
      expect(await link.echo("still there")).toBe("still there");
    },
  );
}

test.skipIf(lacksPart(CADDY.name))(
  "caddy keeps a silent link where all of its times for requests have run out",
  async () => {
    const times = ["read_body", "read_header", "write", "idle"].map((name) => `${name} ${SHORT}`);
    await using proxy = await startCaddy(
      { config: await CADDY.example(), upstreamPort: upstream.port, certificate: authority.certificate },
      { globals: `servers {\n timeouts {\n ${times.join("\n ")}\n }\n }` },
    );
    const link = await openLink(proxy, authority);
    // A connection without a request shows that the times count.
    await new Promise((resolve) => {
      const idle = connect({
        host: "127.0.0.1",
        port: proxy.ports[0]!,
        servername: "localhost",
        ca: authority.caPem,
      });
      idle.on("error", () => {});
      idle.once("close", resolve);
      idle.resume();
    });
    expect(await link.echo("still there")).toBe("still there");
  },
);
