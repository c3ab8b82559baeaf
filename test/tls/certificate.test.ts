import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Problem } from "../../src/base/errors.ts";
import { checkPair, readCertificate, type KeyPair } from "../../src/tls/certificate.ts";
import { makeCertificate } from "../support/certificates.ts";

const DAY_MS = 86_400_000;
const NOW = Math.floor(Date.now() / 1_000) * 1_000;

const root = makeCertificate({ names: ["Test Root"], authority: true });
const middle = makeCertificate({ names: ["Test Middle"], authority: true, issuer: root });
const leaf = makeCertificate({ names: ["relay.example.com", "127.0.0.1", "fd00::12"], issuer: middle });
const other = makeCertificate({ names: ["other.example.com"] });
const [leafPem = "", middlePem = "", rootPem = ""] = leaf.chainPem.match(
  /-----BEGIN[\s\S]*?-----END CERTIFICATE-----\n/g,
) as string[];

function refusal(pair: Partial<KeyPair>, nowMs = Date.now()): { message: string; action: string } {
  try {
    checkPair({ chainPem: leaf.chainPem, keyPem: leaf.keyPem, ...pair }, nowMs);
  } catch (thrown) {
    if (thrown instanceof Problem) return { message: thrown.message, action: thrown.action ?? "" };
    throw thrown;
  }
  throw new Error("The pair was taken");
}

function openssl(input: string | Buffer, ...args: string[]): Buffer {
  return execFileSync("openssl", args, { input, stdio: ["pipe", "pipe", "ignore"] });
}

const folder = mkdtempSync(join(tmpdir(), "certificate-"));
afterAll(() => rmSync(folder, { recursive: true }));

function configFile(text: string): string {
  writeFileSync(join(folder, "openssl.conf"), text);
  return join(folder, "openssl.conf");
}

/** A self-signed certificate by `openssl req`, for what `makeCertificate` has no option for. */
function requested(subject: string, ...more: string[]): KeyPair {
  const file = (name: string): string => join(folder, name);
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", file("key")];
  openssl("", "req", "-x509", ...key, "-subj", subject, "-out", file("cert"), ...more);
  return { chainPem: readFileSync(file("cert"), "utf8"), keyPem: readFileSync(file("key"), "utf8") };
}

describe("readCertificate", () => {
  test("gives the facts of the leaf", () => {
    const notBefore = NOW - DAY_MS;
    const notAfter = NOW + 5 * DAY_MS;
    const made = makeCertificate({ names: ["a.example", "10.0.0.1", "fd00::12", "b.example"], notBefore, notAfter, issuer: middle }); // prettier-ignore
    const facts = readCertificate(made.chainPem);
    expect(facts).toEqual({
      names: ["a.example", "10.0.0.1", "fd00::12", "b.example"],
      issuer: "Test Middle",
      serial: made.serial,
      notBefore,
      notAfter,
      selfSigned: false,
      pin: expect.stringMatching(/^sha256\/[A-Za-z0-9+/]{43}=$/),
      ariId: expect.stringMatching(/^[\w-]{27}\.[\w-]+$/),
    });
  });

  test("gives the serial number as openssl prints it, with a leading zero too", () => {
    const { chainPem } = requested("/CN=x", "-set_serial", "0x0087654321", "-days", "2");
    const printed = openssl(chainPem, "x509", "-noout", "-serial").toString().trim();
    expect(`serial=${readCertificate(chainPem).serial.toUpperCase()}`).toBe(printed);
  });

  test("computes the identifier for renewal information as in the example of RFC 9773, appendix A", () => {
    const example = `-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----
`;
    expect(readCertificate(example).ariId).toBe("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
  });

  test("has no such identifier for a certificate that does not say whose key signed it", () => {
    const { chainPem } = requested("/CN=x", "-addext", "authorityKeyIdentifier=none", "-days", "2");
    expect(readCertificate(chainPem).ariId).toBeUndefined();
  });

  test("keeps names that text with commas in it would split or forge", () => {
    const config = `[req]\ndistinguished_name = dn\nx509_extensions = ext\n[dn]\n[ext]\nsubjectAltName = @names
[names]\nURI.1 = "http://x/, DNS:evil.example"\nDNS.1 = *.Wild.example\n`;
    const { chainPem } = requested("/CN=x", "-config", configFile(config), "-days", "2");
    expect(openssl(chainPem, "x509", "-noout", "-text").toString()).toContain(", DNS:evil.example, DNS:");
    expect(readCertificate(chainPem).names).toEqual(["*.wild.example"]);
  });

  test.each([
    ["/C=US/O=Let's Encrypt/CN=R11", "Let's Encrypt R11"],
    ["/O=Example Trust/CN=Example Trust CA 3", "Example Trust CA 3"],
    ["/O=Only an organisation", "Only an organisation"],
    ["/CN=Only a name", "Only a name"],
  ])("calls the issuer %s %s", (subject, text) => {
    expect(readCertificate(requested(subject, "-days", "2").chainPem).issuer).toBe(text);
  });

  test("knows a certificate that its own key signed", () => {
    expect(readCertificate(other.chainPem).selfSigned).toBe(true);
    expect(readCertificate(leaf.chainPem).selfSigned).toBe(false);
  });
});

describe("checkPair", () => {
  test("takes a chain with its key, with the root, without intermediates, and with remarks", () => {
    for (const chainPem of [
      leaf.chainPem,
      leafPem + middlePem,
      leafPem,
      `subject=relay\r\n${(leafPem + middlePem).replaceAll("\n", "\r\n")}`,
      leafPem + middlePem + other.chainPem,
    ]) {
      const facts = checkPair({ chainPem, keyPem: leaf.keyPem }, Date.now());
      expect(facts.names).toEqual(leaf.names);
    }
  });

  test("takes keys of every form that has no passphrase", () => {
    const traditional = openssl(leaf.keyPem, "ec").toString();
    expect(traditional).toContain("BEGIN EC PRIVATE KEY");
    const parameters = openssl("", "ecparam", "-name", "prime256v1").toString();
    for (const keyPem of [traditional, parameters + traditional]) {
      expect(checkPair({ chainPem: leaf.chainPem, keyPem }, Date.now()).serial).toBe(leaf.serial);
    }
  });

  test("refuses a key of another certificate, and names the certificate", () => {
    const { message, action } = refusal({ keyPem: other.keyPem });
    expect(message).toContain("the key does not belong to it");
    expect(message).toContain(`"relay.example.com", serial ${leaf.serial}`);
    expect(action).toContain("made together");
  });

  test("refuses a chain that does not begin with the key's certificate", () => {
    const { message } = refusal({ chainPem: middlePem + leafPem });
    expect(message).toContain('wrong order, it begins with "Test Middle"');
  });

  test("refuses a chain whose issuers are out of order", () => {
    const { message, action } = refusal({ chainPem: leafPem + rootPem + middlePem });
    expect(message).toContain('"relay.example.com" is not followed by its issuer "Test Middle"');
    expect(action).toContain("first");
  });

  test("refuses an expired one with the date", () => {
    const notAfter = NOW - DAY_MS;
    const old = makeCertificate({ notBefore: NOW - 5 * DAY_MS, notAfter });
    const date = new Date(notAfter).toISOString().replace(".000", "");
    expect(refusal(old).message).toBe(`Cannot use the certificate: it expired on ${date}`);
    expect(checkPair(old, notAfter - 1).notAfter).toBe(notAfter);
    expect(refusal(old, notAfter).message).toContain("expired");
  });

  test("refuses one that is not valid yet, and says what the clock says", () => {
    const early = makeCertificate({ notBefore: NOW + DAY_MS });
    const { message, action } = refusal(early, NOW);
    expect(message).toContain(`not valid before ${new Date(NOW + DAY_MS).toISOString().slice(0, 19)}Z`);
    expect(action).toContain(new Date(NOW).toISOString().slice(0, 19));
  });

  test("refuses a certificate whose only name is its common name", () => {
    expect(refusal(requested("/CN=relay.example.com", "-days", "2")).message).toContain("for no name");
  });

  test("refuses files that are swapped", () => {
    const { message } = refusal({ chainPem: leaf.keyPem, keyPem: leaf.chainPem });
    expect(message).toContain("swapped");
  });

  test("takes one file that holds both, given twice", () => {
    const both = leaf.keyPem + leaf.chainPem;
    expect(checkPair({ chainPem: both, keyPem: both }, Date.now()).serial).toBe(leaf.serial);
  });

  test("refuses a key with a passphrase, old form and new, and says how to take it off", () => {
    const fresh = openssl(leaf.keyPem, "pkcs8", "-topk8", "-passout", "pass:secret").toString();
    const old = openssl(leaf.keyPem, "ec", "-aes128", "-passout", "pass:secret").toString();
    for (const keyPem of [fresh, old]) {
      expect(refusal({ keyPem })).toEqual({
        message: "Cannot read the key: it is encrypted with a passphrase",
        action: expect.stringContaining("openssl pkey"),
      });
    }
  });

  const der = openssl(leafPem, "x509", "-outform", "der").toString("latin1");
  const request = openssl("", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=x").toString(); // prettier-ignore
  const damaged = (pem: string): string => pem.replace(/\n[\w+/]{40}/, `\n${"A".repeat(40)}`);
  test.each([
    ["empty", "", "it is not PEM"],
    ["DER", der, "it is not PEM"],
    ["cut off", leafPem.slice(0, 300), "it is cut off"],
    ["a request", request, "it is a request for one"],
    ["PKCS #7", openssl("", "crl2pkcs7", "-nocrl").toString(), "PKCS #7"],
    ["a public key", openssl(leaf.keyPem, "pkey", "-pubout").toString(), "there is no certificate, but public key"], // prettier-ignore
    ["damaged", damaged(leafPem), "Cannot read certificate 1 of 1"],
  ])("says of a certificate file what it is: %s", (_, chainPem, reason) => {
    expect(refusal({ chainPem }).message).toContain(reason);
  });

  const ssh = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
  test.each([
    ["empty", "", "it is not PEM"],
    ["DER", openssl(leaf.keyPem, "pkey", "-outform", "der").toString("latin1"), "it is not PEM"],
    ["cut off", leaf.keyPem.slice(0, 100), "it is cut off"],
    ["a public key", openssl(leaf.keyPem, "pkey", "-pubout").toString(), "but public key"],
    ["the certificate again", leaf.chainPem, "but certificate"],
    ["of SSH", ssh, "it is a key of SSH"],
    ["damaged", damaged(leaf.keyPem), "it is damaged"],
  ])("says of a key file what it is: %s", (_, keyPem, reason) => {
    expect(refusal({ keyPem }).message).toContain(reason);
  });

  test("never shows any of a key", () => {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const keyPem = privateKey.export({ type: "pkcs8", format: "pem" });
    const secret = keyPem.split("\n")[3] ?? "";
    expect(secret.length).toBe(64);
    expect(JSON.stringify(refusal({ keyPem }))).not.toContain(secret);
    expect(JSON.stringify(refusal({ keyPem: damaged(keyPem) }))).not.toContain(secret);
  });
});
