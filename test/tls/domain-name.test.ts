import { describe, expect, test } from "bun:test";
import { Problem } from "../../src/base/errors.ts";
import { parseDomain } from "../../src/tls/domain-name.ts";
import { domainFolder, folderDomain, safeFileName } from "../../src/tls/store/file-name.ts";

function refusal(text: string): Problem {
  try {
    parseDomain(text);
  } catch (thrown) {
    if (thrown instanceof Problem) return thrown;
    throw thrown;
  }
  throw new Error(`${text} was taken`);
}

const LONG_LABEL = "a".repeat(63);
const LONGEST = `${[LONG_LABEL, LONG_LABEL, LONG_LABEL].join(".")}.${"b".repeat(61)}`;

describe("parseDomain", () => {
  test.each([
    ["relay.example.com", "relay.example.com"],
    [" Relay.EXAMPLE.com\n", "relay.example.com"],
    ["relay.example.com.", "relay.example.com"],
    ["bücher.example", "xn--bcher-kva.example"],
    ["BÜCHER.example", "xn--bcher-kva.example"],
    ["例え.テスト", "xn--r8jz45g.xn--zckzah"],
    ["xn--bcher-kva.example", "xn--bcher-kva.example"],
    ["relay", "relay"],
    ["1and1.example", "1and1.example"],
    ["a--b.example", "a--b.example"],
    [LONGEST, LONGEST],
  ])("takes %j as %j", (text, name) => {
    expect(parseDomain(text)).toBe(name);
  });

  test.each([
    ["", "it is empty"],
    ["   ", "it is empty"],
    ["*.example.com", "a wildcard cannot be proved over HTTP"],
    ["192.0.2.1", "it is an address"],
    ["2001:db8::1", "it is an address"],
    ["[2001:db8::1]", "it is an address"],
    ["https://relay.example.com", "it is a URL"],
    ["relay.example.com/v1", "a name has no slash"],
    ["relay.example.com:443", "a name has no port"],
    ["relay..example.com", "a part of it is empty"],
    [".example.com", "a part of it is empty"],
    [".", "a part of it is empty"],
    ["..", "a part of it is empty"],
    ["-relay.example.com", '"-relay" begins or ends with "-"'],
    ["relay-.example.com", '"relay-" begins or ends with "-"'],
    ["my_relay.example.com", '"_" cannot stand in a host name'],
    ["relay example.com", '" " cannot stand in a host name'],
    ["user@example.com", '"@" cannot stand in a host name'],
    ["relay%2eexample.com", '"%" cannot stand in a host name'],
    ["a,b.example", '"," cannot stand in a host name'],
    ["1.2.3.256", "no name ends with a number alone"],
    ["relay.123", "no name ends with a number alone"],
    [`${LONG_LABEL}a.example`, "has 64 characters, of at most 63"],
    [`c${LONGEST}`, "characters, of at most"],
    [`${LONGEST}.x`, "it has 255 characters, of at most 253"],
    ["xn--.example", "it has a character that no host name has"],
    ["bü cher.example", "it has a character that no host name has"],
  ])("refuses %j: %s", (text, reason) => {
    const problem = refusal(text);
    expect(problem.message).toContain(reason);
    expect(problem.action).toBeTruthy();
  });

  test("lets no control character of a name into a message", () => {
    for (const text of ["a\u0000b.example", "a\u001b[2Jb.example", "a\nb.example"]) {
      // eslint-disable-next-line no-control-regex
      expect(refusal(text).message).not.toMatch(/[\u0000-\u001f]/);
    }
  });
});

describe("The folder of a domain", () => {
  test.each(["../x", "a/b", "a\\b", "..", ".", "", "a\u0000b", "C:", "~", "/etc", "%2e%2e", "_accounts", "_con.example"])(
    "is none for %j",
    (text) => {
      expect(() => domainFolder(text)).toThrow(Problem);
    },
  ); // prettier-ignore

  test("is the same for every spelling of the name", () => {
    const folders = ["relay.example.com", "RELAY.example.COM", "relay.example.com."].map(domainFolder);
    expect(new Set(folders)).toEqual(new Set(["relay.example.com"]));
  });

  test("is no device of Windows", () => {
    for (const name of ["con", "nul.example.com", "com1.example", "LPT9", "aux.example"]) {
      expect(domainFolder(name)).toBe(`_${name.toLowerCase()}`);
      expect(folderDomain(domainFolder(name))).toBe(name.toLowerCase());
    }
    expect(domainFolder("console.example.com")).toBe("console.example.com");
  });

  test("leads back to the domain, and no other name does", () => {
    expect(folderDomain("relay.example.com")).toBe("relay.example.com");
    for (const name of ["_accounts", "_relay.example.com", "con.example", "Relay.example", "x..y", ".DS_Store"]) {
      expect(folderDomain(name)).toBeUndefined();
    } // prettier-ignore
  });
});

describe("A safe file name", () => {
  test("has neither separators nor a dot at its ends, whatever the text", () => {
    for (const text of ["../../etc/passwd", "..", "", "con", "a\u0000b", "https://ca.example/dir?x=1", "é".repeat(500), "x."]) {
      expect(safeFileName(text)).toMatch(/^[a-z0-9][a-z0-9.-]{0,92}[a-f0-9]$/);
    } // prettier-ignore
  });

  test("tells texts apart that differ in case alone", () => {
    const names = ["AbC", "aBc", "abc"].map((text) => safeFileName(text).toLowerCase());
    expect(new Set(names).size).toBe(3);
  });
});
