import { describe, expect, test } from "bun:test";
import { Problem } from "../../src/base/errors.ts";
import { checkAuthorities, trustedRoots } from "../../src/base/trusted-roots.ts";
import { makeCertificate } from "../support/certificates.ts";

const ca = makeCertificate({ names: ["Test CA"], authority: true });

function problemOf(pem: string): string {
  try {
    checkAuthorities(pem, '"ca.pem" as ca-file (flag --ca-file)');
  } catch (error) {
    if (error instanceof Problem) return error.message;
    throw error;
  }
  return "none";
}

describe("Trusted roots", () => {
  test("hold those of the system, with further ones after them", () => {
    const own = trustedRoots();
    expect(own.length).toBeGreaterThan(50);
    expect(trustedRoots(`text before\n${ca.chainPem}`)).toEqual([...own, ca.chainPem.trim()]);
    expect(trustedRoots()).toEqual(own);
  });

  test("take a file with certificates and refuse others, saying why", () => {
    expect(problemOf(ca.chainPem)).toBe("none");
    expect(problemOf(ca.keyPem)).toBe(
      'Cannot use "ca.pem" as ca-file (flag --ca-file): it holds no certificate in PEM',
    );
    const damaged = ca.chainPem.replace(/\n.{10}/, "\nAAAAAAAAAA");
    expect(problemOf(ca.chainPem + damaged)).toStartWith(
      'Cannot use "ca.pem" as ca-file (flag --ca-file): certificate 2 of 2 is damaged',
    );
  });
});
