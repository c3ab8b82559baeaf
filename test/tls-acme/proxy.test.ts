import { expect, test } from "bun:test";
import type { Socket } from "bun";
import { join } from "node:path";
import { pairMatches } from "../../src/tls/certificate.ts";
import { lacksPart } from "../support/parts.ts";
import { makeStore, startSite } from "../support/pebble-site.ts";

interface Tunnel {
  other: Socket<Tunnel> | undefined;
  early: Buffer[];
}

/** An HTTP proxy that knows CONNECT alone, as companies have them. */
function startConnectProxy() {
  const targets: string[] = [];
  const pass = (socket: Socket<Tunnel>, data: Buffer): void => {
    const { other, early } = socket.data;
    if (other === undefined) early.push(Buffer.from(data));
    else other.write(data);
  };
  const listener = Bun.listen<Tunnel>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open: (socket) => void (socket.data = { other: undefined, early: [] }),
      async data(socket, data) {
        const target = /^CONNECT ([^ ]+) HTTP/.exec(data.toString("latin1"))?.[1];
        if (target === undefined) return pass(socket, data);
        targets.push(target);
        const [hostname = "", port] = target.split(":");
        const other = await Bun.connect<Tunnel>({
          hostname,
          port: Number(port),
          data: { other: socket, early: [] },
          socket: { data: pass, close: (ended) => void ended.data.other?.end() },
        });
        socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
        for (const early of socket.data.early) other.write(early);
        socket.data = { other, early: [] };
      },
      close: (socket) => void socket.data.other?.end(),
    },
  });
  return { url: `http://127.0.0.1:${listener.port}`, targets, [Symbol.dispose]: () => listener.stop(true) };
}

test.skipIf(lacksPart("pebble"))(
  "The way to the CA leads through the environment's proxy, with the CA's own root still trusted alone",
  async () => {
    using kept = makeStore();
    await using site = await startSite();
    using proxy = startConnectProxy();
    site.answerFrom(kept.store);
    const { directoryUrl, caPem } = site.options;
    const issue = async (input: object) => {
      const issuer = join(import.meta.dir, "../support/pebble-issuer.ts");
      const all = { dir: kept.dir, names: ["a.example"], directoryUrl, ...input };
      const child = Bun.spawn([process.execPath, issuer, JSON.stringify(all)], {
        stdio: ["ignore", "pipe", "inherit"],
        env: { ...process.env, HTTPS_PROXY: proxy.url, NO_PROXY: "" },
      });
      return JSON.parse(await child.stdout.text());
    };
    expect(await issue({})).toMatchObject({ error: expect.stringContaining("Cannot trust the CA") });
    expect(pairMatches(await issue({ caPem }))).toBe(true);
    expect(new Set(proxy.targets)).toEqual(new Set([new URL(directoryUrl).host]));
  },
);
