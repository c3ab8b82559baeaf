import { expect, test } from "bun:test";
import { runProgram } from "../e2e/program.ts";
import { startCaddy } from "../support/caddy.ts";
import { lacksPart } from "../support/parts.ts";
import { startPebble, type Pebble } from "../support/pebble.ts";
import { makeAuthority } from "./authority.ts";
import { CADDY } from "./rig.ts";

test.skipIf(lacksPart("caddy", "curl", "pebble", "pebbleChallengeServer"))(
  "Caddy gets its certificate by itself, by challenges on the port that it redirects",
  async () => {
    await using stack = new AsyncDisposableStack();
    using authority = makeAuthority();
    const upstream = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: () => new Response("the relay"),
    });
    stack.defer(() => upstream.stop(true));
    let pebble: Pebble | undefined;
    const caddy = stack.use(
      await startCaddy(
        {
          config: await CADDY.example(),
          upstreamPort: upstream.port!,
          certificate: authority.certificate,
        },
        {
          async issuer(httpPort) {
            pebble = stack.use(await startPebble({ httpPort }));
            await Bun.write(`${authority.caFile}.pebble`, pebble.caPem);
            const settings = [`dir ${pebble.directoryUrl}`, `trusted_roots ${authority.caFile}.pebble`];
            return `tls {\nissuer acme {\n${settings.join("\n")}\ndisable_tlsalpn_challenge\n}\n}`;
          },
        },
      ),
    );
    await caddy.logged(/certificate obtained successfully/);
    await Bun.write(`${authority.caFile}.root`, await pebble!.rootPem());
    const port = caddy.ports[0];
    const asked = ["--resolve", `relay.example.com:${port}:127.0.0.1`, `https://relay.example.com:${port}/`];
    const trust = ["--noproxy", "*", "--cacert", `${authority.caFile}.root`];
    expect(await runProgram(["curl", "-sS", ...trust, ...asked])).toMatchObject({
      code: 0,
      stdout: "the relay",
    });
  },
  60_000,
);
