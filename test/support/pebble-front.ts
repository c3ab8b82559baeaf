import { makeCertificate, type TestCertificate } from "./certificates.ts";
import type { Pebble } from "./pebble.ts";

/** What the front answers instead of the CA. */
export interface Fault {
  /** Path of the requests that fail. */
  path: RegExp;
  status: number;
  /** A problem document, text, or nothing. */
  body?: object | string;
  headers?: Record<string, string>;
  /** How many requests; each one if absent. */
  times?: number;
}

export interface FrontAddress {
  port: number;
  https: TestCertificate;
}

export interface PebbleFront extends AsyncDisposable {
  directoryUrl: string;
  caPem: string;
  address: FrontAddress;
  /** Later faults go first. */
  fail(fault: Fault): void;
  /** Changes what the CA answers on a path. */
  rewrite(path: RegExp, change: (body: string) => string): void;
  /** `POST /order-plz` and the like, of every request, in order. */
  requests: string[];
  /** How many nonces the CA has refused. */
  refusedNonces(): number;
  /** Payloads of the signed requests on a path, but for those whose nonce the CA refused: they come again. */
  payloads(path: RegExp): unknown[];
}

/** A problem document of ACME, RFC 8555 §6.7. */
export function problem(type: string, detail: string, more: object = {}): object {
  return { type: `urn:ietf:params:acme:error:${type}`, detail, ...more };
}

/**
 * An HTTPS server before Pebble that fails on demand, for what Pebble does not bring forth itself.
 *
 * @param back the address of one that has stopped, to come back at
 */
export function startFront(pebble: Pebble, back?: FrontAddress): PebbleFront {
  const https = back?.https ?? makeCertificate({ names: ["localhost", "127.0.0.1"] });
  const faults: Fault[] = [];
  const rewrites: { path: RegExp; change: (body: string) => string }[] = [];
  const requests: string[] = [];
  let refusedNonces = 0;
  let payloads: { path: string; payload: unknown }[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: back?.port ?? 0,
    tls: { cert: https.chainPem, key: https.keyPem },
    async fetch(request) {
      const { pathname } = new URL(request.url);
      requests.push(`${request.method} ${pathname}`);
      const body = request.method === "POST" ? await request.text() : undefined;
      const entry = { path: pathname, payload: body === undefined ? undefined : payloadOf(body) };
      if (body !== undefined) payloads.push(entry);
      const fault = faults.findLast(({ path, times }) => path.test(pathname) && times !== 0);
      if (fault !== undefined) {
        if (fault.times !== undefined) fault.times--;
        const isProblem = typeof fault.body === "object";
        return new Response(typeof fault.body === "object" ? JSON.stringify(fault.body) : fault.body, {
          status: fault.status,
          headers: { ...(isProblem && { "content-type": "application/problem+json" }), ...fault.headers },
        });
      }
      // With the front's host, after which Pebble names everything else.
      const answer = await fetch(`${pebble.url}${pathname}`, {
        method: request.method,
        headers: request.headers,
        ...(body === undefined ? {} : { body }),
        tls: { ca: pebble.caPem },
        proxy: "",
      });
      const text = rewrites
        .filter(({ path }) => path.test(pathname))
        .reduce((changed, { change }) => change(changed), await answer.text());
      if (text.includes("error:badNonce")) {
        refusedNonces++;
        payloads = payloads.filter((other) => other !== entry);
      }
      const headers = new Headers(answer.headers);
      headers.delete("content-length");
      return new Response(request.method === "HEAD" ? null : text, { status: answer.status, headers });
    },
  });
  return {
    directoryUrl: `https://127.0.0.1:${server.port}/dir`,
    caPem: https.chainPem,
    address: { port: server.port!, https },
    fail: (fault) => void faults.push({ ...fault }),
    rewrite: (path, change) => void rewrites.push({ path, change }),
    requests,
    refusedNonces: () => refusedNonces,
    payloads: (path) => payloads.filter((entry) => path.test(entry.path)).map(({ payload }) => payload),
    async [Symbol.asyncDispose]() {
      await server.stop(true);
    },
  };
}

/** What a request in JWS (RFC 8555 §6.2) carries; `undefined` for a POST-as-GET. */
function payloadOf(body: string): unknown {
  const { payload } = JSON.parse(body) as { payload: string };
  const text = Buffer.from(payload, "base64url").toString();
  return text === "" ? undefined : JSON.parse(text);
}
