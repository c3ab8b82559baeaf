import { describe, expect, test } from "bun:test";
import { readSums } from "../../src/update/sums.ts";
import { compareVersions, parseVersion } from "../../src/update/version.ts";

describe("Versions", () => {
  test("are three numbers and perhaps more, with or without a v", () => {
    const read = ["1.2.3", " v1.2.3\r\n", "0.0.1-rc.1", "1.2.3-beta+build.5"].map(parseVersion);
    expect(read).toEqual(["1.2.3", "1.2.3", "0.0.1-rc.1", "1.2.3-beta+build.5"]);
  });

  test("are nothing that could lead elsewhere", () => {
    const wrong = [
      "",
      "1.2",
      "1.2.3.4",
      "1.2.3/../..",
      "latest",
      "1.2.3 4.5.6",
      "1.2.3\n4.5.6",
      "../1.2.3",
      "1.2.x",
      "<html>",
    ];
    expect(wrong.map(parseVersion)).toEqual(wrong.map(() => undefined));
  });

  test("are in the order of semver.org", () => {
    const order = [
      "0.9.9",
      "1.0.0-alpha",
      "1.0.0-alpha.1",
      "1.0.0-rc.2",
      "1.0.0-rc.10",
      "1.0.0",
      "1.0.1",
      "1.2.0",
      "1.10.0",
      "2.0.0",
    ];
    expect(order.toReversed().sort(compareVersions)).toEqual(order);
    expect(compareVersions("1.2.3", "1.2.3")).toBe(0);
  });
});

describe("SHA256SUMS", () => {
  const sum = "0123456789abcdef".repeat(4);

  test("is read as sha256sum writes it, of text or binary files, whatever ends its lines", () => {
    const text = `${sum}  a.tar.gz\n${sum.toUpperCase()} *b.zip\r\n\n${sum}  c d.tar.gz`;
    expect([...readSums(text)]).toEqual([
      ["a.tar.gz", sum],
      ["b.zip", sum],
      ["c d.tar.gz", sum],
    ]);
  });

  test("says nothing where it is something else", () => {
    expect([...readSums(`<html>${sum}  a</html>\n${sum.slice(1)}  b\n${sum} c\n ${sum}  d\n`)]).toEqual([]);
  });
});
