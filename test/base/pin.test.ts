import { describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { Problem } from "../../src/base/errors.ts";
import { parsePin, pinOf } from "../../src/base/pin.ts";
import { makeCertificate } from "../support/certificates.ts";

const PIN = "sha256/B0WmM9aTdA73iB2MFSt5Qy+nFbKmhssbifIQwL6XVNs=";

function refusal(text: string): Problem {
  try {
    parsePin(text);
  } catch (thrown) {
    if (thrown instanceof Problem) return thrown;
    throw thrown;
  }
  throw new Error(`${text} was taken`);
}

describe("pinOf", () => {
  test("gives what openssl computes from the public key", () => {
    const { chainPem } = makeCertificate();
    const publicKey = execFileSync("openssl", ["x509", "-noout", "-pubkey"], { input: chainPem });
    const der = execFileSync("openssl", ["pkey", "-pubin", "-outform", "der"], { input: publicKey });
    const expected = `sha256/${createHash("sha256").update(der).digest("base64")}`;
    expect(pinOf(new X509Certificate(chainPem).raw)).toBe(expected);
  });

  test("refuses what is cut off at any byte", () => {
    const { raw } = new X509Certificate(makeCertificate().chainPem);
    for (let length = 0; length < raw.length; length += 7) {
      expect(() => pinOf(raw.subarray(0, length))).toThrow(RangeError);
    }
  });
});

describe("parsePin", () => {
  test.each([
    ["as the relay prints it", PIN],
    ["with white space around it", `  ${PIN}\n`],
    ["as curl has it, with two slashes", PIN.replace("/", "//")],
    ["without padding", PIN.slice(0, -1)],
    ["without the hash's name", PIN.slice("sha256/".length)],
    ["with the hash's name in capitals", PIN.replace("sha256", "SHA256")],
    ["in base64url", PIN.replace("+", "-")],
    ["with a colon", PIN.replace("/", ":")],
  ])("takes a pin %s", (_, text) => {
    expect(parsePin(text)).toBe(PIN);
  });

  test("tells a fingerprint of the whole certificate from a pin of its key", () => {
    const hex = "AB".repeat(32);
    for (const text of [hex, hex.toLowerCase(), (hex.match(/../g) ?? []).join(":"), `sha256:${hex}`]) {
      expect(refusal(text).message).toContain("hexadecimal");
    }
  });

  test.each([
    ["empty", ""],
    ["too short", PIN.slice(0, -4)],
    ["too long", `${PIN}A`],
    ["of another kind of text", "relay.example.com"],
    ["with a character that base64 has not", PIN.replace("+", "*")],
  ])("refuses a pin that is %s, and says what is expected", (_, text) => {
    expect(refusal(text).message).toContain('expected "sha256/" and the 44 characters');
  });

  test("refuses other hashes by their name", () => {
    expect(refusal(PIN.replace("sha256", "sha512")).message).toContain("sha512 is not used for pins");
  });

  test("refuses a last character that no 32 bytes end with, since a slip of copying makes one", () => {
    expect(refusal(PIN.replace("s=", "t=")).message).toContain("last character");
  });
});
