import { describe, expect, test } from "bun:test";
import { isIPv6 } from "node:net";
import { UsageError } from "../../src/base/errors.ts";
import { formatAddress, parseAddress } from "../../src/base/ip-address.ts";
import { createTrustedProxies } from "../../src/server/trusted-proxy.ts";

const PRIVATE = ["127.0.0.1", "::1", "10.0.0.0/8", "fd00::/8", "fe80::/10"];

/** Who the client is to a relay whose proxies have private addresses. */
function client(headers: Record<string, string>, peer = "10.0.0.1", trusted = PRIVATE): string {
  return createTrustedProxies(trusted).clientAddress(peer, new Headers(headers));
}

const xff = (value: string, peer?: string) => client({ "x-forwarded-for": value }, peer);
const forwarded = (value: string, peer?: string) => client({ forwarded: value }, peer);

/** Numbers in [0, below), the same in every run. */
function sequence(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe("The client's address", () => {
  test("is the peer's when no proxy is trusted, or when another one connects", () => {
    expect(client({ "x-forwarded-for": "203.0.113.9" }, "10.0.0.1", [])).toBe("10.0.0.1");
    expect(xff("203.0.113.9", "198.51.100.1")).toBe("198.51.100.1");
    expect(forwarded("for=203.0.113.9", "2001:db8::1")).toBe("2001:db8::1");
    expect(client({}, "10.0.0.1")).toBe("10.0.0.1");
    expect(xff("203.0.113.9", "")).toBe("");
    expect(xff("203.0.113.9", "unix:/run/relay.sock")).toBe("unix:/run/relay.sock");
  });

  test("is written in one way, however the peer or the proxy writes it", () => {
    for (const peer of ["::ffff:198.51.100.1", "::FFFF:c633:6401", "198.51.100.1"])
      expect(xff("203.0.113.9", peer)).toBe("198.51.100.1");
    for (const claim of ["2001:DB8:0:0:0:0:0:1", "[2001:db8::1]:443", "[2001:db8::1]", "2001:db8::0:1"])
      expect(xff(claim)).toBe("2001:db8::1");
    expect(xff("203.0.113.9:51234")).toBe("203.0.113.9");
    expect(xff("::ffff:203.0.113.9")).toBe("203.0.113.9");
    expect(xff("203.0.113.9", "fe80::1%eth0")).toBe("203.0.113.9");
    expect(xff("203.0.113.9", "::ffff:10.1.2.3")).toBe("203.0.113.9");
  });

  test("is the first from the right that no trusted proxy has", () => {
    expect(xff("6.6.6.6, 203.0.113.9")).toBe("203.0.113.9");
    expect(xff("6.6.6.6,203.0.113.9 ,10.0.0.7,fd00::7")).toBe("203.0.113.9");
    expect(forwarded('for=6.6.6.6, for="203.0.113.9:4711";proto=https;by=10.0.0.1, For=10.0.0.7')).toBe(
      "203.0.113.9",
    );
    expect(forwarded('for="[2001:db8::1]:4711"')).toBe("2001:db8::1");
    expect(forwarded('proto=https;FOR="[2001:db8::1]:_port";')).toBe("2001:db8::1");
  });

  test("is the farthest when all of them are trusted", () => {
    expect(xff("10.0.0.9, 10.0.0.8")).toBe("10.0.0.9");
    expect(forwarded('for=10.0.0.9, for="[fd00::8]"')).toBe("10.0.0.9");
  });

  test("is the last one known when an entry is no address", () => {
    const garbage = [
      "unknown",
      "_hidden",
      "",
      " ",
      "-",
      "localhost",
      "1.2.3",
      "1.2.3.4.5",
      "256.1.1.1",
      "01.2.3.4",
      "0x7f.1",
      "[1.2.3.4]",
      "[::1",
      "::1]:80",
      "1.2.3.4:",
      "1.2.3.4:x",
      "[::1]x",
      "1.2.3.4 5.6.7.8",
      "a".repeat(5_000),
      "1".repeat(5_000),
      "unix:",
      "\u00e9",
      "2001:db8::1::2",
      "%eth0",
      '"1.2.3.4"',
    ];
    for (const entry of garbage) {
      expect({ entry, client: xff(`6.6.6.6, ${entry}, 10.0.0.7`) }).toEqual({ entry, client: "10.0.0.7" });
      expect({ entry, client: xff(`6.6.6.6,${entry}`) }).toEqual({ entry, client: "10.0.0.1" });
      const place = /["\s]/.test(entry) ? entry : `for=${entry}`;
      expect({ entry, client: forwarded(`for=6.6.6.6, ${place}, for=10.0.0.7`) }).toEqual({
        entry,
        client: "10.0.0.7",
      });
    }
    for (const place of [
      "for=2001:db8::1",
      'for="2001:db8::1"',
      "for=unknown",
      "for=_a.b-c",
      "for",
      "for=",
      "by=1.1.1.1",
      "for=1.1.1.1;for=2.2.2.2",
      'for="1.1.1.1',
      'for=1.1.1.1"',
      'for="1.1.1.1\\"',
      "for = 1.1.1.1",
      'for="1.1.1.1";x="a,b"',
      "203.0.113.9",
      'for="[::1]:x"',
      'for="[10.0.0.3]"',
    ]) {
      expect({ place, client: forwarded(`for=6.6.6.6, ${place}, for=10.0.0.7`) }).toEqual({
        place,
        client: "10.0.0.7",
      });
    }
  });

  test("cannot be forged by opening a quotation that swallows what the proxy adds", () => {
    for (const begun of [
      'for=6.6.6.6, for="',
      'for=6.6.6.6;x="',
      'for=6.6.6.6, for="\\',
      'for=6.6.6.6,x="a',
    ]) {
      for (const added of ["for=203.0.113.9", 'for="[2001:db8::1]"', 'proto=https;host="";for=203.0.113.9']) {
        const said = forwarded(`${begun}, ${added}`);
        expect(["10.0.0.1", "203.0.113.9", "2001:db8::1"]).toContain(said);
      }
    }
  });

  test("is the proxy's own when the two headers name different clients: one of them came from the client", () => {
    const both = (x: string, f: string) => client({ "x-forwarded-for": x, forwarded: f });
    expect(both("203.0.113.9", "for=203.0.113.9")).toBe("203.0.113.9");
    expect(both("6.6.6.6, 203.0.113.9", "for=203.0.113.9;proto=https, for=10.0.0.2")).toBe("203.0.113.9");
    expect(both("203.0.113.9", "for=6.6.6.6")).toBe("10.0.0.1");
    expect(both("6.6.6.6", "for=203.0.113.9")).toBe("10.0.0.1");
    expect(both("203.0.113.9", "garbage")).toBe("10.0.0.1");
    expect(both("", "for=203.0.113.9")).toBe("10.0.0.1");
  });

  test("is looked for in the last 32 entries and 4 KiB", () => {
    const hops = (count: number) => Array.from({ length: count }, () => "10.0.0.7").join(",");
    expect(xff(`203.0.113.9,${hops(31)}`)).toBe("203.0.113.9");
    expect(xff(`203.0.113.9,${hops(32)}`)).toBe("10.0.0.7");
    expect(xff(`203.0.113.9,${" ".repeat(5_000)}10.0.0.8`)).toBe("10.0.0.1");
    expect(xff(`203.0.113.9, ${" ".repeat(4_000)},10.0.0.8`)).toBe("10.0.0.8");
    // Cut in two, 203.0.113.9 must not be read as 3.0.113.9.
    expect(xff(`203.0.113.9${" ".repeat(4_078)},10.0.0.8`)).toBe("10.0.0.8");
    for (const unit of [",", ";", "for=", '"', "for=1.1.1.1;", "[", ":", "=,"]) {
      const text = unit.repeat(Math.ceil(65_536 / unit.length));
      expect(xff(text)).toBe("10.0.0.1");
      expect(forwarded(text)).toBe("10.0.0.1");
    }
  });

  test("is what the nearest untrusted hop says, whatever a client sends, in 5,000 random chains", () => {
    const random = sequence(7);
    const proxies = createTrustedProxies(PRIVATE);
    const pieces = [
      '"',
      ",",
      ";",
      "for=",
      "6.6.6.6",
      "10.0.0.9",
      "[",
      "]",
      ":",
      "_x",
      "unknown",
      "\\",
      " ",
      "=",
    ];
    for (let round = 0; round < 5_000; round += 1) {
      const sent = Array.from({ length: random(12) }, () => pieces[random(pieces.length)] ?? "").join("");
      const truth =
        round % 2 === 0 ? `203.0.113.${random(256)}` : `2001:db8::${(1 + random(9)).toString(16)}`;
      const hops = Array.from({ length: random(3) }, () => `10.0.0.${random(256)}`);
      const chain = [truth, ...hops];
      const nodes = chain.map((address) => (isIPv6(address) ? `for="[${address}]:80"` : `for=${address}`));
      const forms = [
        { "x-forwarded-for": [sent, ...chain].join(", ") },
        { forwarded: [sent, ...nodes].join(", ") },
        { forwarded: [sent, ...nodes].join(","), "x-forwarded-for": chain.join(",") },
      ];
      for (const form of forms) {
        expect({ sent, client: proxies.clientAddress("::ffff:10.0.0.1", new Headers(form)) }).toEqual({
          sent,
          client: truth,
        });
      }
      const lie = proxies.clientAddress(
        "10.0.0.1",
        new Headers({ forwarded: sent, "x-forwarded-for": truth }),
      );
      expect([truth, "10.0.0.1"]).toContain(lie);
    }
  });
});

describe("An address", () => {
  test("of random bytes is written and read back", () => {
    const random = sequence(11);
    for (let round = 0; round < 3_000; round += 1) {
      const length = round % 3 === 0 ? 4 : 16;
      const bytes = Uint8Array.from({ length }, () => (random(2) === 0 ? 0 : random(256)));
      const text = formatAddress(bytes);
      expect([text, parseAddress(text)]).toEqual([text, bytes]);
      expect([text, new URL(`http://${length === 4 ? text : `[${text}]`}/`).hostname]).toEqual([
        text,
        length === 4 ? text : `[${text}]`,
      ]);
    }
  });
});

describe("--trusted-proxy", () => {
  test("takes addresses and networks, of any length in bits", () => {
    const inside = (cidr: string, peer: string) =>
      client({ "x-forwarded-for": "203.0.113.9" }, peer, [cidr]) === "203.0.113.9";
    const cases: [cidr: string, inside: string, outside: string][] = [
      ["10.0.0.5", "10.0.0.5", "10.0.0.4"],
      ["10.0.0.5/32", "::ffff:10.0.0.5", "10.0.0.4"],
      ["172.16.0.0/12", "172.31.255.255", "172.32.0.0"],
      ["10.0.0.128/25", "10.0.0.128", "10.0.0.127"],
      ["128.0.0.0/1", "255.255.255.255", "127.255.255.255"],
      ["::ffff:10.0.0.0/104", "10.255.0.1", "11.0.0.0"],
      ["2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"],
      ["2001:db8::8000/113", "2001:db8::ffff", "2001:db8::7fff"],
      [" fe80::/10 ", "fe80::1%eth0", "fec0::1"],
      // IPv4 is no part of an IPv6 network.
      ["::/1", "1::", "10.0.0.1"],
    ];
    for (const [cidr, good, bad] of cases)
      expect([cidr, inside(cidr, good), inside(cidr, bad)]).toEqual([cidr, true, false]);
  });

  test("refuses what is no network, and says what to write", () => {
    const problem = (cidr: string) => {
      try {
        createTrustedProxies([cidr]);
      } catch (error) {
        if (error instanceof UsageError) return `${error.message} → ${error.action}`;
        throw error;
      }
      return "accepted";
    };
    for (const cidr of [
      "",
      "proxy.example.com",
      "10.0.0",
      "*",
      "10.0.0.0-10.0.0.9",
      "fe80::1%eth0",
      "1.2.3.4:80",
    ])
      expect(problem(cidr)).toContain("it is no address and no network → Write an address such as 10.0.0.5");
    for (const cidr of [
      "10.0.0.0/33",
      "10.0.0.0/",
      "10.0.0.0/-1",
      "10.0.0.0/8/8",
      "::/129",
      "::ffff:10.0.0.0/8",
    ])
      expect(problem(cidr)).toContain("the number behind the slash must be from");
    for (const cidr of ["0.0.0.0/0", "::/0", "10.0.0.0/0"])
      expect(problem(cidr)).toContain("it stands for every address");
    expect(problem("172.17.0.1/16")).toBe(
      'Cannot trust the proxy "172.17.0.1/16": the address has digits beyond the network\'s 16 bits → Write 172.17.0.0/16 for the network, or 172.17.0.1 for this one address',
    );
    expect(problem("x".repeat(10_000)).length).toBeLessThan(250);
  });
});
