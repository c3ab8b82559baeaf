import { defineOptions, type OptionSpec } from "./options.ts";
import { serveOptions } from "./serve-options.ts";
import { configOption, jsonOption, relayDataDirOption } from "./shared-options.ts";
import { oneOf } from "./value-kinds.ts";
import { workerOptions } from "./worker-options.ts";

const ENDS = ["serve", "worker"] as const;
export type EndName = (typeof ENDS)[number];

/** Settings of `serve` and `worker` that decide what is looked at, under their own names. */
export const doctorOptions = defineOptions({
  end: {
    operand: true,
    inFile: false,
    hint: "END",
    help: "What runs on this machine: serve or worker",
    defaultText: "what the settings are for; serve if there are none",
    schema: oneOf(ENDS),
  },
  json: jsonOption,
  // Under another key than that of other commands, which read the file and end if it is wrong.
  configFile: {
    ...configOption("serve"),
    flag: "config",
    help: "TOML file with the settings under [serve] and [worker]",
  },
  dataDir: relayDataDirOption,
  listen: serveOptions.listen,
  tls: serveOptions.tls,
  domain: serveOptions.domain,
  httpsPort: serveOptions.httpsPort,
  httpPort: serveOptions.httpPort,
  http3: serveOptions.http3,
  tlsCert: serveOptions.tlsCert,
  tlsKey: serveOptions.tlsKey,
  tlsSelfSigned: serveOptions.tlsSelfSigned,
  databaseUrl: serveOptions.databaseUrl,
  maxQueueLen: serveOptions.maxQueueLen,
  maxInflightBytes: serveOptions.maxInflightBytes,
  proxyUrl: workerOptions.proxyUrl,
  caFile: workerOptions.caFile,
  pin: workerOptions.pin,
  maxConcurrency: workerOptions.maxConcurrency,
} satisfies Record<string, OptionSpec>);
