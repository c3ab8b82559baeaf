import { join } from "node:path";
import { requirePart } from "./parts.ts";
import {
  startOnFreePorts,
  substitute,
  tlsProxy,
  type TlsProxy,
  type TlsProxyOptions,
} from "./proxy-process.ts";

/** The commented line that a certificate of one's own goes into. */
export const OWN_CERTIFICATE =
  "# tls /etc/letsencrypt/live/relay.example.com/fullchain.pem /etc/letsencrypt/live/relay.example.com/privkey.pem";

/** Caddy's state goes below `dir`, not into the home of whoever runs the tests. */
export function caddyEnv(dir: string): Record<string, string> {
  return { XDG_DATA_HOME: join(dir, "data"), XDG_CONFIG_HOME: join(dir, "config"), HOME: dir };
}

export interface CaddyMore {
  /** What else stands among the global options. */
  globals?: string;
  /** Gives what stands in place of the certificate's line, once the port that stands for 80 is known. */
  issuer?: (plainPort: number) => Promise<string>;
}

/**
 * Starts Caddy with a Caddyfile written for relay.example.com. With a certificate's files it answers for
 * localhost as well.
 *
 * @throws {Problem} if the part is missing or Caddy does not come up
 */
export async function startCaddy(options: TlsProxyOptions, more: CaddyMore = {}): Promise<TlsProxy> {
  return tlsProxy(
    await startOnFreePorts("caddy", 2, async ([tls, plain], dir) => {
      const file = join(dir, "Caddyfile");
      const names = more.issuer === undefined ? "relay.example.com, localhost" : "relay.example.com";
      const site = substitute(options.config, [
        ["\nrelay.example.com {", `\n${names} {\n\tbind 127.0.0.1`],
        [
          OWN_CERTIFICATE,
          (await more.issuer?.(plain!)) ?? `tls ${options.certificate.chain} ${options.certificate.key}`,
        ],
        ["reverse_proxy 127.0.0.1:8080", `reverse_proxy 127.0.0.1:${options.upstreamPort}`],
      ]);
      // Without the grace period it waits seconds for open connections when it is stopped. For localhost it
      // would make an authority of its own and have the whole machine trust it.
      const global = `admin off
	grace_period 1ms
	skip_install_trust
	https_port ${tls}
	http_port ${plain}
	default_bind 127.0.0.1
	${more.globals ?? ""}`;
      await Bun.write(file, `{\n\t${global}\n}\n${site}`);
      return {
        command: [requirePart("caddy"), "run", "--config", file, "--adapter", "caddyfile"],
        env: caddyEnv(dir),
        ready: /serving initial configuration/,
        taken: /address already in use/,
      };
    }),
  );
}
