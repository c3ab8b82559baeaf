import { domainFlags, factsOf, relayCommand, type ProxyConfigOptions } from "./facts.ts";

/**
 * A whole Caddyfile, or one more site of one, for Caddy 2.6 or newer.
 *
 * @throws {Problem} if a name or path cannot stand in it
 */
export function caddyConfig(options: ProxyConfigOptions): string {
  const facts = factsOf(options);
  const own = options.certFile !== undefined || options.keyFile !== undefined;
  const tls = `tls ${facts.certFile} ${facts.keyFile}`;
  const certificate = own
    ? `	# Read when Caddy starts or reloads: after a renewal, systemctl reload caddy --force.
	${tls}`
    : `	# Caddy gets the certificate and renews it, answers the challenges on port 80 and redirects the rest of
	# that port with 308 to the same path. With a certificate of your own instead:
	# ${tls}`;
  return `# Caddy in front of modelrelay. Printed by: modelrelay tls caddy ${domainFlags(facts.names)}
#
# File:   /etc/caddy/Caddyfile
# Apply:  caddy validate --config /etc/caddy/Caddyfile && systemctl reload caddy
# Relay:  ${relayCommand(facts)}

${facts.names.join(", ")} {
${certificate}

	# Tells browsers never to come by plain HTTP again. Take it in when https has worked for a while.
	# header Strict-Transport-Security "max-age=31536000"

	reverse_proxy ${facts.upstream} {
		# Caddy passes a stream on as it comes, without being told: event streams, and all else that has no
		# length. Do not add "flush_interval -1": Caddy then leaves a request running whose client has left,
		# and the model works for nobody. It has no limit for bodies and no time limit either: the relay has
		# both, and says which. X-Forwarded-For and -Proto are Caddy's own here, the client's are dropped.
		header_up -Forwarded

		# A worker's WebSocket needs no setting. From Caddy 2.7 on this line keeps the links through a reload:
		# stream_close_delay 24h

		transport http {
			dial_timeout 5s
			# The relay closes an idle connection after 30 s. Leaving it sooner keeps a request from being
			# sent into one that is just closing.
			keepalive 20s
			compression off
		}
	}
}
`;
}
