import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "../e2e/program.ts";
import { startHaproxy } from "../support/haproxy.ts";
import { lacksPart } from "../support/parts.ts";
import type { TlsProxy } from "../support/proxy-process.ts";
import { makeAuthority, type Authority } from "./authority.ts";
import { CADDY, HAPROXY, NGINX, PROXY_KINDS } from "./rig.ts";

const CHALLENGE = "/.well-known/acme-challenge/token";
const EVENTS = "/console/events";
let authority: Authority;
let upstream: Bun.Server<undefined>;
/** Lets the next part of an event stream go. */
let next = Promise.withResolvers<void>();
/** What arrived of a body first. */
let arrived = Promise.withResolvers<string>();
beforeAll(() => {
  authority = makeAuthority();
  upstream = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      if (request.method === "PUT") {
        const parts: string[] = [];
        for await (const bytes of request.body!) {
          parts.push(new TextDecoder().decode(bytes));
          arrived.resolve(parts[0] ?? "");
        }
        return Response.json(parts);
      }
      const { pathname, search } = new URL(request.url);
      if (pathname === EVENTS) {
        return new Response(
          async function* () {
            for (let n = 0; n < 5; n++) {
              yield `data: ${n}\n\n`;
              await next.promise;
            }
          },
          { headers: { "content-type": "text/event-stream" } },
        );
      }
      return Response.json({ path: pathname + search, headers: Object.fromEntries(request.headers) });
    },
  });
});
afterAll(async () => {
  await upstream.stop(true);
  authority[Symbol.dispose]();
});

const options = async (kind: (typeof PROXY_KINDS)[number]) => ({
  config: await kind.example(),
  upstreamPort: upstream.port!,
  certificate: authority.certificate,
});

for (const kind of PROXY_KINDS) {
  describe.skipIf(lacksPart(kind.name, "curl"))(`${kind.name} at the edge`, () => {
    let proxy: TlsProxy;
    beforeAll(async () => {
      proxy = await kind.start(await options(kind));
    });
    afterAll(() => proxy[Symbol.asyncDispose]());

    for (const path of ["/v1/models?a=b%20c&d", "/v1/worker/connect?provider=x", "/console/"]) {
      test(`redirects plain HTTP to the same address, ${path}, over https`, async () => {
        for (const method of ["GET", "POST"]) {
          const answer = await fetch(proxy.plainUrl + path, {
            method,
            redirect: "manual",
            headers: { host: "relay.example.com" },
            proxy: "",
          });
          expect([answer.status, answer.headers.get("location")]).toEqual([
            308,
            `https://relay.example.com${path}`,
          ]);
        }
      });

      test(`tells the relay who called ${path} and how, whatever the caller says of itself`, async () => {
        const answer = await fetch(proxy.url + path, {
          tls: { ca: authority.caPem },
          proxy: "",
          headers: {
            "X-Forwarded-For": "192.0.2.1, 192.0.2.2",
            "X-Forwarded-Proto": "http",
            Forwarded: "for=192.0.2.3;proto=http",
            "X-Worker-Secret": "kept",
          },
        });
        const seen = (await answer.json()) as { path: string; headers: Record<string, string> };
        expect(seen.path).toBe(path);
        expect(seen.headers).toMatchObject({
          "x-forwarded-for": "127.0.0.1",
          "x-forwarded-proto": "https",
          "x-worker-secret": "kept",
        });
        expect(seen.headers["forwarded"]).toBeUndefined();
        expect(answer.headers.get("content-encoding")).toBeNull();
      });
    }

    // The relay's own streams ask nginx for this by a header as well; not everything that streams does.
    test("holds back no event stream of any path", async () => {
      const answer = await fetch(proxy.url + EVENTS, { tls: { ca: authority.caPem }, proxy: "" });
      const parts: string[] = [];
      for await (const bytes of answer.body!) {
        parts.push(new TextDecoder().decode(bytes));
        next.resolve();
        next = Promise.withResolvers();
      }
      expect(parts).toEqual([0, 1, 2, 3, 4].map((n) => `data: ${n}\n\n`));
    });

    test("passes a request on while it comes", async () => {
      arrived = Promise.withResolvers();
      const answer = await fetch(`${proxy.url}/v1/files`, {
        method: "PUT",
        tls: { ca: authority.caPem },
        proxy: "",
        body: async function* () {
          yield "first";
          await arrived.promise;
          yield "second";
        },
      });
      expect(await answer.json()).toEqual(["first", "second"]);
    });

    const curl = (...args: string[]) =>
      runProgram(["curl", "-sS", "--noproxy", "*", "--cacert", authority.caFile, ...args, `${proxy.url}/`]);

    test("takes TLS 1.2 and 1.3, and nothing older", async () => {
      for (const version of ["1.2", "1.3"]) {
        expect(await curl(`--tlsv${version}`, "--tls-max", version)).toMatchObject({ code: 0 });
      }
      // The client's own library would not offer it at its usual level.
      const old = await curl("--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0");
      expect([old.code, old.stderr]).toEqual([35, expect.stringContaining("alert protocol version")]);
    });

    test("speaks HTTP/2 and HTTP/1.1", async () => {
      for (const version of ["2", "1.1"]) {
        const spoken = await curl(`--http${version}`, "-o", "/dev/null", "-w", "%{http_version}");
        expect(spoken.stdout).toBe(version);
      }
    });
  });
}

test.skipIf(lacksPart(NGINX.name))(
  "nginx serves certbot's challenges and redirects no missing one",
  async () => {
    await using proxy = await NGINX.start(await options(NGINX));
    mkdirSync(join(proxy.dir, "webroot/.well-known/acme-challenge"), { recursive: true });
    await Bun.write(join(proxy.dir, "webroot", CHALLENGE), "token.thumbprint");
    const found = await fetch(proxy.plainUrl + CHALLENGE, { redirect: "manual", proxy: "" });
    expect([found.status, await found.text()]).toEqual([200, "token.thumbprint"]);
    expect((await fetch(`${proxy.plainUrl + CHALLENGE}2`, { redirect: "manual", proxy: "" })).status).toBe(
      404,
    );
  },
);

test.skipIf(lacksPart(HAPROXY.name))("HAProxy passes challenges on to certbot", async () => {
  await using proxy = await startHaproxy(await options(HAPROXY), upstream.port);
  const answer = await fetch(proxy.plainUrl + CHALLENGE, { redirect: "manual", proxy: "" });
  expect([answer.status, await answer.json()]).toMatchObject([200, { path: CHALLENGE }]);
});

test.skipIf(lacksPart(CADDY.name))("Caddy redirects no challenge of others into the relay", async () => {
  await using proxy = await CADDY.start(await options(CADDY));
  const answer = await fetch(proxy.plainUrl + CHALLENGE, { redirect: "manual", proxy: "" });
  expect(answer.status).toBe(308);
});
