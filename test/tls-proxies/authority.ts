import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeCertificate } from "../support/certificates.ts";

/** A certificate authority made for one run, and a certificate of it, as the files that programs want. */
export interface Authority extends Disposable {
  caPem: string;
  caFile: string;
  /** For localhost, 127.0.0.1 and relay.example.com; `bundle` holds chain and key. */
  certificate: { chain: string; key: string; bundle: string };
}

export function makeAuthority(): Authority {
  const ca = makeCertificate({ names: ["ca.test"], authority: true });
  const leaf = makeCertificate({ names: ["relay.example.com", "localhost", "127.0.0.1"], issuer: ca });
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-authority-"));
  const save = (name: string, text: string): string => {
    const file = join(dir, name);
    writeFileSync(file, text);
    return file;
  };
  return {
    caPem: ca.chainPem,
    caFile: save("ca.pem", ca.chainPem),
    certificate: {
      chain: save("chain.pem", leaf.chainPem),
      key: save("key.pem", leaf.keyPem),
      bundle: save("bundle.pem", leaf.chainPem + leaf.keyPem),
    },
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
}
