import { createPrivateKey, type KeyObject } from "node:crypto";
import { messageOf, Problem } from "../base/errors.ts";
import { certificateBlocks } from "../base/pem.ts";

/** The first private key of a text, with its first and last line. */
export function keyBlock(text: string): string | undefined {
  return /-----BEGIN ([A-Z ]*PRIVATE KEY)-----[\s\S]*?-----END \1-----/.exec(text)?.[0];
}

/** Without remarks between the blocks, and with the line ends of PEM as everybody writes it. */
export function plainPair({ chainPem, keyPem }: { chainPem: string; keyPem: string }): {
  chainPem: string;
  keyPem: string;
} {
  const lines = (blocks: string[]): string =>
    blocks.map((block) => `${block.replaceAll("\r\n", "\n")}\n`).join("");
  const key = keyBlock(keyPem);
  return { chainPem: lines(certificateBlocks(chainPem)), keyPem: lines(key === undefined ? [] : [key]) };
}

/** Reads a private key that needs no passphrase. @throws {Problem} saying what the text is instead */
export function privateKey(keyPem: string): KeyObject {
  const block = keyBlock(keyPem);
  if (block === undefined) throw noKey(keyPem);
  if (/BEGIN ENCRYPTED PRIVATE KEY|^Proc-Type:.*ENCRYPTED/m.test(block)) {
    throw new Problem("Cannot read the key: it is encrypted with a passphrase", {
      action: "Take the passphrase off: openssl pkey -in FILE -out privkey.pem",
    });
  }
  if (block.startsWith("-----BEGIN OPENSSH")) {
    throw new Problem("Cannot read the key: it is a key of SSH", {
      action: "Give the key that was made with the certificate, such as privkey.pem",
    });
  }
  try {
    return createPrivateKey(block);
  } catch (cause) {
    throw new Problem(`Cannot read the key: it is damaged (${messageOf(cause)})`, {
      action: "Copy the file again from where it was made",
      cause,
    });
  }
}

function noKey(text: string): Problem {
  const found = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(text)?.[1];
  if (found?.endsWith("PRIVATE KEY")) {
    return new Problem("Cannot read the key: it is cut off", {
      action: "Copy the whole file, up to and with its last line",
    });
  }
  if (found !== undefined) {
    return new Problem(`Cannot read the key: there is no private key, but ${found.toLowerCase()}`, {
      action: "Give the file that begins with -----BEGIN PRIVATE KEY-----, such as privkey.pem",
    });
  }
  return new Problem("Cannot read the key: it is not PEM", {
    action:
      "Give a text file that begins with -----BEGIN PRIVATE KEY-----; a binary one is turned into it by: openssl pkey -inform der -in FILE -out privkey.pem",
  });
}

/** Says what a text is that holds no certificate. */
export function noCertificate(text: string): Problem {
  const found = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(text)?.[1];
  if (found === "CERTIFICATE") {
    return new Problem("Cannot read the certificate: it is cut off", {
      action: "Copy the whole file, up to and with its last line -----END CERTIFICATE-----",
    });
  }
  if (found === "CERTIFICATE REQUEST" || found === "NEW CERTIFICATE REQUEST") {
    return new Problem("Cannot read the certificate: it is a request for one", {
      action: "Send the request to your certificate authority, and give the file that comes back",
    });
  }
  if (found === "PKCS7") {
    return new Problem("Cannot read the certificate: it is a PKCS #7 bundle", {
      action: "Take the certificates out of it: openssl pkcs7 -print_certs -in FILE -out fullchain.pem",
    });
  }
  if (found !== undefined) {
    return new Problem(`Cannot read the certificate: there is no certificate, but ${found.toLowerCase()}`, {
      action: "Give the file that begins with -----BEGIN CERTIFICATE-----, such as fullchain.pem",
    });
  }
  return new Problem("Cannot read the certificate: it is not PEM", {
    action:
      "Give a text file that begins with -----BEGIN CERTIFICATE-----; a binary one is turned into it by: openssl x509 -inform der -in FILE -out fullchain.pem",
  });
}
