import { isIP } from "node:net";
import { domainToASCII } from "node:url";
import { Problem } from "../base/errors.ts";

const MAX_NAME_LENGTH = 253; // RFC 1035 §2.3.4 in characters, without the final dot
const MAX_LABEL_LENGTH = 63;

/**
 * Reads a name that a certificate can be ordered for by HTTP-01: lower case, international names in
 * their ASCII form (RFC 5891), no final dot. Whether a CA issues for it (`relay` alone, say, which a
 * private CA may) is the CA's to decide.
 *
 * @throws {Problem} naming what is wrong and what to give instead
 */
export function parseDomain(text: string): string {
  const trimmed = text.trim();
  const refuse = (why: string, action: string): never => {
    throw new Problem(`Cannot use the domain "${shown(trimmed)}": ${why}`, { action });
  };
  if (trimmed === "") refuse("it is empty", "Give a name such as relay.example.com");
  if (trimmed.includes("*")) {
    refuse(
      "a wildcard cannot be proved over HTTP",
      "Name each host, with one --domain for each, or bring a wildcard certificate with --tls-cert",
    );
  }
  if (isIP(trimmed.replace(/^\[|\]$/g, "")) !== 0) {
    refuse(
      "it is an address",
      "Give a name that leads to this address, or use --tls-self-signed, which needs no name",
    );
  }
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(trimmed)) refuse("it is a URL", "Leave scheme and path out");
  if (/[/\\]/.test(trimmed)) refuse("a name has no slash", "Give the name alone");
  if (/:\d*$/.test(trimmed)) refuse("a name has no port", "Give the port with --https-port");

  const name = asciiForm(trimmed.replace(/\.$/, ""));
  if (name === undefined) {
    return refuse(
      "it has a character that no host name has",
      'Letters, digits and "-" make a name, with dots between its parts',
    );
  }
  if (name.length > MAX_NAME_LENGTH) {
    refuse(`it has ${name.length} characters, of at most ${MAX_NAME_LENGTH}`, "Give a shorter name");
  }
  const labels = name.split(".");
  for (const label of labels) {
    if (label === "") refuse("a part of it is empty", "Put one dot between two parts, and none before");
    if (label.length > MAX_LABEL_LENGTH) {
      refuse(
        `"${shown(label)}" has ${label.length} characters, of at most ${MAX_LABEL_LENGTH}`,
        "Give a shorter name",
      );
    }
    if (!/^[a-z0-9-]+$/.test(label)) {
      const found = /[^a-z0-9-]/.exec(label)?.[0] ?? "";
      refuse(
        `"${shown(found)}" cannot stand in a host name`,
        'Letters, digits and "-" make a name, with dots between its parts',
      );
    }
    if (label.startsWith("-") || label.endsWith("-")) {
      refuse(`"${label}" begins or ends with "-"`, "Give the name as it stands in DNS");
    }
  }
  if (/^\d+$/.test(labels.at(-1) ?? "")) {
    refuse("no name ends with a number alone", "Give a name such as relay.example.com");
  }
  return name;
}

/** Control characters of foreign text stay out of messages, and so does most of a long one. */
function shown(text: string): string {
  return text.slice(0, 80).replace(/\p{Cc}/gu, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

function asciiForm(name: string): string | undefined {
  // domainToASCII would take percent signs and spaces for something to decode or to drop.
  // eslint-disable-next-line no-control-regex
  if (/^[\u0000-\u007f]*$/.test(name)) {
    const lower = name.toLowerCase();
    return /(^|\.)xn--/.test(lower) ? domainToASCII(lower) || undefined : lower;
  }
  if (/[\s%\p{Cc}]/u.test(name)) return undefined;
  return domainToASCII(name) || undefined;
}
