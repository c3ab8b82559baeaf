import type { SecureVersion, TLSSocket } from "node:tls";
import type { Outcome } from "../../base/check-result.ts";
import { hostPort } from "../../base/ip-address.ts";
import { ANSWER_MS, onWire, type Context } from "./context.ts";

/** One handshake with certain offers. @returns what was agreed on, or `undefined` if they were refused */
async function offer(
  { domain, clock, roots, httpsPort }: Context,
  address: string,
  terms: { protocols?: readonly string[]; minVersion?: SecureVersion; maxVersion?: SecureVersion },
): Promise<{ version: string; protocol: string | undefined } | undefined> {
  const tls = { host: domain, roots, ...terms };
  try {
    return await onWire(clock, { address, port: httpsPort, tls }, ANSWER_MS, (wire) => {
      const socket = wire.socket as TLSSocket;
      const protocol = socket.alpnProtocol;
      return Promise.resolve({
        version: socket.getProtocol() ?? "",
        protocol: typeof protocol === "string" && protocol !== "" ? protocol : undefined,
      });
    });
  } catch {
    // A refusal has many forms: an alert, a reset, a connection that just ends.
    return undefined;
  }
}

/** Versions of TLS and of HTTP that the server takes. */
export async function checkProtocols(context: Context, address: string): Promise<Outcome> {
  const target = hostPort(address, context.httpsPort);
  const only = (version: SecureVersion) =>
    offer(context, address, { minVersion: version, maxVersion: version });
  const versions: string[] = [];
  for (const [version, name] of [
    ["TLSv1", "TLS 1.0"],
    ["TLSv1.1", "TLS 1.1"],
    ["TLSv1.2", "TLS 1.2"],
    ["TLSv1.3", "TLS 1.3"],
  ] as const) {
    if ((await only(version))?.version === version) versions.push(name);
  }
  const http1 = await offer(context, address, { protocols: ["http/1.1"] });
  const http2 = await offer(context, address, { protocols: ["h2"] });
  const spoken = [
    ...versions,
    ...(http2?.protocol === "h2" ? ["HTTP/2"] : []),
    ...(http1 === undefined || http1.protocol === "h2" ? [] : ["HTTP/1.1"]),
  ];
  const details = spoken.join(", ");
  if (versions.includes("TLS 1.0") || versions.includes("TLS 1.1")) {
    return {
      target,
      ok: false,
      details: `${details}: versions below 1.2 are broken`,
      action:
        "Turn them off where TLS ends (nginx: ssl_protocols TLSv1.2 TLSv1.3; HAProxy: ssl-min-ver TLSv1.2)",
    };
  }
  if (!spoken.includes("HTTP/1.1")) {
    return {
      target,
      ok: false,
      details: `${details}: workers need HTTP/1.1 for their WebSocket`,
      action: "Let the server offer http/1.1 beside h2 (ALPN)",
    };
  }
  return { target, ok: true, details };
}
