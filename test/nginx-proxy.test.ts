import { expect, test } from "bun:test";
import { startNginx } from "./support/nginx.ts";
import { lacksPart } from "./support/parts.ts";

test.skipIf(lacksPart("nginx"))(
  "nginx of the tests passes a stream on as it comes and keeps its connection to the upstream",
  async () => {
    const release = Promise.withResolvers<void>();
    const ports = new Set<number>();
    await using upstream = {
      server: Bun.serve({
        hostname: "127.0.0.1",
        port: 0,
        fetch(request, server) {
          ports.add(server.requestIP(request)?.port ?? -1);
          if (new URL(request.url).pathname === "/plain") return new Response("plain");
          return new Response(async function* () {
            yield "first";
            // Only a client that has seen the first chunk lets the second one go.
            await release.promise;
            yield "second";
          });
        },
      }),
      [Symbol.asyncDispose]() {
        return this.server.stop(true);
      },
    };
    await using nginx = await startNginx({ upstreamPort: upstream.server.port!, buffering: false });

    const response = await fetch(`${nginx.url}/stream`, { proxy: "" });
    let text = "";
    for await (const chunk of response.body!) {
      text += new TextDecoder().decode(chunk);
      if (text === "first") release.resolve();
    }
    expect(text).toBe("firstsecond");
    expect(await (await fetch(`${nginx.url}/plain`, { proxy: "" })).text()).toBe("plain");
    expect(ports.size).toBe(1);
  },
);
