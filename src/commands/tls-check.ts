import { isIP, isIPv4, isIPv6 } from "node:net";
import { systemClock } from "../base/clock.ts";
import { UsageError } from "../base/errors.ts";
import { parseDomain } from "../tls/domain-name.ts";
import { readAuthorities } from "./ca-file.ts";
import { checkLine } from "./check-line.ts";
import { commandNode, type Command } from "./command.ts";
import { EXIT } from "./failure.ts";
import { defineOptions } from "./options.ts";
import { jsonOption } from "./shared-options.ts";
import { duration, integer, label, path, textKind } from "./value-kinds.ts";

/** What is to be looked at; a port is that of HTTPS. */
interface CheckedHost {
  /** As `parseDomain` gives it, or an address without brackets. */
  host: string;
  port: number | undefined;
}

const checkedHost = textKind(
  "a host name such as relay.example.com or an address, with the port of HTTPS behind a colon if it is not 443",
  (text): CheckedHost | undefined => {
    // People copy the address of a page.
    const given = text
      .trim()
      .replace(/^https?:\/\//, "")
      .replace(/\/.*$/, "");
    if (isIP(given) !== 0) return { host: given, port: undefined };
    const [, ipv6, name = "", digits] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(given) ?? [];
    const host = ipv6 === undefined ? nameOrIpv4(name) : isIPv6(ipv6) ? ipv6 : undefined;
    const port = digits === undefined ? undefined : Number(digits);
    return host === undefined || port === 0 || (port ?? 0) > 65_535 ? undefined : { host, port };
  },
);

function nameOrIpv4(name: string): string | undefined {
  if (isIPv4(name)) return name;
  try {
    return parseDomain(name);
  } catch {
    return undefined;
  }
}

export const checkOptions = defineOptions({
  domain: {
    operand: true,
    hint: "DOMAIN",
    inFile: false,
    help: "Name that clients and workers use; NAME:PORT for another port of HTTPS",
    schema: checkedHost,
  },
  waitMs: {
    flag: "wait",
    // A little longer than the minute after which most proxies end a silent connection.
    default: "75s",
    hint: "DURATION",
    inFile: false,
    help: "Time for which a silent WebSocket has to be kept; 0 to leave that out",
    schema: duration,
  },
  connect: {
    hint: "ADDRESS",
    inFile: false,
    help: "Address to look at whatever the name says, before DNS is changed",
    schema: label(253),
  },
  httpPort: {
    default: "80",
    hint: "PORT",
    inFile: false,
    help: "Port for plain HTTP",
    schema: integer(1, 65_535),
  },
  httpsPort: {
    default: "443",
    hint: "PORT",
    inFile: false,
    help: "Port for HTTPS",
    schema: integer(1, 65_535),
  },
  caFile: {
    hint: "FILE",
    inFile: false,
    help: "Certificates of authorities to trust beside the system's (PEM)",
    schema: path,
  },
  json: jsonOption,
});

export const checkCommand: Command<typeof checkOptions> = {
  name: "tls check",
  summary: "Finds what keeps clients and workers from a relay: name, ports, certificate, proxy",
  examples: [
    {
      line: "modelrelay tls check relay.example.com",
      does: "From any machine; exit code 1 if anything is wrong",
    },
    {
      line: "modelrelay tls check relay.example.com --connect 192.0.2.7 --wait 0",
      does: "A new server, before its name leads there",
    },
  ],
  options: checkOptions,
  check({ config: { domain, httpsPort }, origins }) {
    if (domain?.port === undefined || origins.httpsPort === "default" || domain.port === httpsPort) return;
    throw new UsageError(
      `Cannot look at port ${domain.port} (${origins.domain}) and at port ${httpsPort} (${origins.httpsPort}): HTTPS has one`,
      { action: "Keep one of them" },
    );
  },
  async run({ domain: given, waitMs, connect, httpPort, httpsPort, caFile, json }, { terminal, origins }) {
    if (given === undefined) {
      throw new UsageError("Cannot check a domain without its name", {
        action: "Write: modelrelay tls check relay.example.com",
      });
    }
    const domain = given.host;
    const { checkDomain } = await import("../tls/check/index.ts");
    let printed = Promise.resolve();
    const results = await checkDomain(
      domain,
      {
        clock: systemClock,
        waitMs,
        httpPort,
        httpsPort: given.port ?? httpsPort,
        ...(connect !== undefined && { connect }),
        ...(caFile !== undefined && { caPem: readAuthorities(caFile, "ca-file", origins.caFile) }),
        onProgress: (step, target, waitedMs) => {
          terminal.err(
            `... ${step} ${target}: ${Math.round(waitedMs / 1_000)} s of ${Math.round(waitMs / 1_000)} s\n`,
          );
        },
      },
      (result) => {
        if (!json) printed = printed.then(() => terminal.out(checkLine(result)));
      },
    );
    await printed;
    if (json) {
      const steps = results.map(({ ok, ...rest }) => ({ ...rest, ok: ok ?? null }));
      await terminal.out(`${JSON.stringify({ domain, checks: steps }, null, 2)}\n`);
    }
    return results.some(({ ok }) => ok === false) ? EXIT.failed : 0;
  },
};

export const checkNode = commandNode(checkCommand);
