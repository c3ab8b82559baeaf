import { join } from "node:path";
import { requirePart } from "./parts.ts";
import {
  startOnFreePorts,
  substitute,
  tlsProxy,
  type TlsProxy,
  type TlsProxyOptions,
} from "./proxy-process.ts";

/**
 * Starts HAProxy with a configuration written for relay.example.com.
 *
 * @param certbotPort port on 127.0.0.1 where challenges go
 * @throws {Problem} if the part is missing or HAProxy does not come up
 */
export async function startHaproxy(options: TlsProxyOptions, certbotPort = 9): Promise<TlsProxy> {
  return tlsProxy(
    await startOnFreePorts("haproxy", 2, async ([tls, plain], dir) => {
      const file = join(dir, "haproxy.cfg");
      const bundle = "/etc/haproxy/certs/relay.example.com.pem";
      await Bun.write(
        file,
        substitute(options.config, [
          // Both need root, and a system log that nobody reads here.
          ["    user haproxy\n", ""],
          ["    group haproxy\n", ""],
          ["log /dev/log local0", "log stdout format raw local0"],
          [`    bind [::]:443 v6only ssl crt ${bundle} alpn h2,http/1.1\n`, ""],
          ["    bind [::]:80 v6only\n", ""],
          ["bind :443 ssl", `bind 127.0.0.1:${tls} ssl`],
          ["bind :80\n", `bind 127.0.0.1:${plain}\n`],
          [bundle, options.certificate.bundle],
          ["server relay 127.0.0.1:8080", `server relay 127.0.0.1:${options.upstreamPort}`],
          ["server certbot 127.0.0.1:8402", `server certbot 127.0.0.1:${certbotPort}`],
        ]),
      );
      return {
        command: [requirePart("haproxy"), "-W", "-f", file],
        ready: /Loading success/,
        taken: /cannot bind socket|Address already in use/,
      };
    }),
  );
}
