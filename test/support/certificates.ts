import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A certificate that a test made, with its key; `chainPem` begins with the leaf. */
export interface TestCertificate {
  names: string[];
  chainPem: string;
  keyPem: string;
  /** As `openssl x509 -serial` prints it, in lower case. */
  serial: string;
}

export interface TestCertificateOptions {
  /** DNS names and IP addresses. */
  names?: string[];
  /** Moments of the validity, ms since the epoch. */
  notBefore?: number;
  notAfter?: number;
  /** Who signs; itself if absent. */
  issuer?: TestCertificate;
  /** Whether it may sign others. */
  authority?: boolean;
  /** Kind of the key; `ec` unless given. */
  key?: "ec" | "rsa";
}

const DAY_MS = 86_400_000;

function openssl(dir: string, args: string[]): void {
  execFileSync("openssl", args, { cwd: dir, stdio: ["ignore", "ignore", "pipe"] });
}

/** `20261121160000Z`, as openssl's `ca` takes it. */
function asn1Time(ms: number): string {
  return new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, "");
}

/** Makes a certificate with openssl, so that no code under test has a hand in it. */
export function makeCertificate(options: TestCertificateOptions = {}): TestCertificate {
  const { names = ["localhost", "127.0.0.1"], issuer, authority = false, key = "ec" } = options;
  const { notBefore = Date.now() - DAY_MS, notAfter = Date.now() + 90 * DAY_MS } = options;
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-cert-"));
  try {
    const san = names.map((name) => `${/^[\d.]+$|:/.test(name) ? "IP" : "DNS"}:${name}`).join(",");
    writeFileSync(
      join(dir, "ca.conf"),
      `[ca]\ndefault_ca = test\n[test]\ndatabase = index\nnew_certs_dir = .\nserial = serial\ndefault_md = sha256
policy = any\nunique_subject = no\nx509_extensions = leaf\n[any]\ncommonName = supplied\n[leaf]
${san === "" ? "" : `subjectAltName = ${san}`}
basicConstraints = critical, CA:${authority ? "TRUE\nkeyUsage = critical, digitalSignature, keyCertSign, cRLSign" : "FALSE"}
subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n`,
    );
    writeFileSync(join(dir, "index"), "");
    const serial = Buffer.from(crypto.getRandomValues(new Uint8Array(8)))
      .toString("hex")
      .replace(/^./, "4");
    writeFileSync(join(dir, "serial"), `${serial}\n`);
    const kind = {
      ec: ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
      rsa: ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    };
    openssl(dir, ["genpkey", "-quiet", "-algorithm", ...kind[key], "-out", "key.pem"]);
    openssl(dir, [
      "req",
      "-new",
      "-key",
      "key.pem",
      "-subj",
      `/CN=${names[0] ?? "nobody"}`,
      "-out",
      "req.pem",
    ]);
    if (issuer !== undefined) {
      writeFileSync(join(dir, "issuer.pem"), issuer.chainPem);
      writeFileSync(join(dir, "issuer-key.pem"), issuer.keyPem);
    }
    const signer =
      issuer === undefined
        ? ["-selfsign", "-keyfile", "key.pem"]
        : ["-cert", "issuer.pem", "-keyfile", "issuer-key.pem"];
    const dates = ["-startdate", asn1Time(notBefore), "-enddate", asn1Time(notAfter)];
    openssl(dir, [
      "ca", "-config", "ca.conf", "-batch", "-notext", "-in", "req.pem", "-out", "cert.pem",
      ...signer, ...dates,
    ]); // prettier-ignore
    const read = (name: string) => readFileSync(join(dir, name), "utf8");
    return {
      names,
      chainPem: read("cert.pem") + (issuer?.chainPem ?? ""),
      keyPem: read("key.pem"),
      serial: serial.toLowerCase(),
    };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
