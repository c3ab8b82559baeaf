import { sign } from "node:crypto";

const encoded = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

/**
 * Sends a request of an account, as another ACME program of its owner would (RFC 8555 §6.2, ES256).
 *
 * @param payload `undefined` only reads (POST-as-GET)
 */
export async function postAs(
  account: { keyPem: string; accountUrl?: string },
  url: string,
  payload: object | undefined,
  ca: { directoryUrl: string; caPem?: string },
): Promise<Response> {
  const via = { tls: { ca: ca.caPem! }, proxy: "" };
  const directory = (await (await fetch(ca.directoryUrl, via)).json()) as { newNonce: string };
  for (;;) {
    const nonce = (await fetch(directory.newNonce, { ...via, method: "HEAD" })).headers.get("replay-nonce");
    const head = encoded({ alg: "ES256", kid: account.accountUrl, nonce, url });
    const body = payload === undefined ? "" : encoded(payload);
    const signature = sign("sha256", Buffer.from(`${head}.${body}`), {
      key: account.keyPem,
      dsaEncoding: "ieee-p1363",
    });
    const response = await fetch(url, {
      ...via,
      method: "POST",
      headers: { "content-type": "application/jose+json" },
      body: JSON.stringify({ protected: head, payload: body, signature: signature.toString("base64url") }),
    });
    const text = await response.text();
    if (!text.includes("error:badNonce")) return new Response(text, { status: response.status });
  }
}
