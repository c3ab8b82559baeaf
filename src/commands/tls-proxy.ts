import { UsageError } from "../base/errors.ts";
import { caddyConfig } from "../tls/proxies/caddy.ts";
import type { ProxyConfigOptions } from "../tls/proxies/facts.ts";
import { haproxyConfig } from "../tls/proxies/haproxy.ts";
import { nginxConfig } from "../tls/proxies/nginx.ts";
import { commandNode, type Command } from "./command.ts";
import { defineOptions } from "./options.ts";
import { serveOptions } from "./serve-options.ts";
import { acmeOptions } from "./tls-options.ts";
import { listenAddress, path } from "./value-kinds.ts";

const { listen, requestTimeoutMs, config: configOption } = serveOptions;
const { domain } = acmeOptions;

const proxyOptions = defineOptions({
  domain,
  listen: { ...listen, help: "Where the relay listens for plain HTTP", schema: listenAddress },
  requestTimeoutMs,
  certFile: {
    hint: "FILE",
    inFile: false,
    help: "Certificate with its chain (PEM)",
    defaultText: "certbot's",
    schema: path,
  },
  keyFile: {
    hint: "FILE",
    inFile: false,
    help: "Its private key (PEM)",
    defaultText: "certbot's",
    schema: path,
  },
  config: { ...configOption, help: "TOML file whose table [serve] gives the same settings" },
});

function proxyCommand(
  name: string,
  title: string,
  file: string,
  write: (options: ProxyConfigOptions) => string,
): Command<typeof proxyOptions> {
  return {
    name: `tls ${name}`,
    summary: `Prints a working ${title} configuration for --domain`,
    examples: [
      {
        line: `modelrelay tls ${name} --domain relay.example.com > ${file}`,
        does: `For a relay behind ${title} on one machine`,
      },
    ],
    options: proxyOptions,
    file: "serve",
    async run(
      { domain: names = [], listen: upstream, requestTimeoutMs: timeout, certFile, keyFile },
      { terminal },
    ) {
      const [first, ...more] = names;
      if (first === undefined) {
        throw new UsageError(`Cannot write a configuration for ${title} without --domain`, {
          action: "Add --domain relay.example.com",
        });
      }
      const text = write({
        domains: [first, ...more],
        upstream,
        requestTimeoutMs: timeout,
        ...(certFile !== undefined && { certFile }),
        ...(keyFile !== undefined && { keyFile }),
      });
      await terminal.out(text);
      return 0;
    },
  };
}

export const nginxCommand = proxyCommand("nginx", "nginx", "/etc/nginx/conf.d/modelrelay.conf", nginxConfig);
export const caddyCommand = proxyCommand("caddy", "Caddy", "/etc/caddy/Caddyfile", caddyConfig);
export const haproxyCommand = proxyCommand("haproxy", "HAProxy", "/etc/haproxy/haproxy.cfg", haproxyConfig);

export const nginxNode = commandNode(nginxCommand);
export const caddyNode = commandNode(caddyCommand);
export const haproxyNode = commandNode(haproxyCommand);
