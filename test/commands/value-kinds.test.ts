import { describe, expect, test } from "bun:test";
import type * as z from "zod";
import {
  duration,
  httpAddress,
  integer,
  isLoopback,
  label,
  listenAddress,
  onOff,
  origins,
  path,
  size,
} from "../../src/commands/value-kinds.ts";
import { modelChoice } from "../../src/commands/worker-options.ts";

/** What each text is read as; `undefined` for one that is refused. */
function readAll(kind: z.ZodType<unknown, string>, texts: readonly string[]): unknown[] {
  return texts.map((text) => kind.safeParse(text).data);
}

function expectEach(
  kind: z.ZodType<unknown, string>,
  cases: readonly (readonly [text: string, value: unknown])[],
): void {
  const texts = cases.map(([text]) => text);
  const read = readAll(kind, texts);
  expect(texts.map((text, index) => [text, read[index]])).toEqual(
    cases.map(([text, value]) => [text, value]),
  );
}

describe("Values", () => {
  test("an address to listen on is HOST:PORT", () => {
    expectEach(listenAddress, [
      ["127.0.0.1:8080", { host: "127.0.0.1", port: 8080 }],
      ["[::1]:8080", { host: "::1", port: 8080 }],
      [":8080", { host: "::", port: 8080 }],
      ["localhost:0", { host: "localhost", port: 0 }],
      ["relay.example.com:65535", { host: "relay.example.com", port: 65_535 }],
      [" 0.0.0.0:1 ", { host: "0.0.0.0", port: 1 }],
      ["8080", undefined],
      ["127.0.0.1", undefined],
      ["127.0.0.1:", undefined],
      ["127.0.0.1:65536", undefined],
      ["127.0.0.1:-1", undefined],
      ["127.0.0.256:80", undefined],
      ["::1:8080", undefined],
      ["[::1]", undefined],
      ["[127.0.0.1]:80", undefined],
      ["http://127.0.0.1:80", undefined],
      ["a b:80", undefined],
      ["-a:80", undefined],
    ]);
  });

  test("only addresses of this machine are loopback", () => {
    const hosts = [
      "127.0.0.1",
      "127.9.9.9",
      "::1",
      "localhost",
      "::ffff:127.0.0.1",
      "0.0.0.0",
      "::",
      "192.168.1.2",
      "localhost.example.com",
      "127.0.0.1.example.com",
      "::ffff:10.0.0.1",
    ];
    expect(hosts.filter(isLoopback)).toEqual(hosts.slice(0, 5));
  });

  test("a duration is seconds or has units, and a year at most", () => {
    expectEach(duration, [
      ["0", 0],
      ["30", 30_000],
      ["2.5s", 2_500],
      ["1h30m", 5_400_000],
      ["250ms", 250],
      ["", undefined],
      ["-1", undefined],
      ["30 sec", undefined],
      ["30s5", undefined],
      ["1e3", undefined],
      ["366d", undefined],
    ]);
  });

  test("a size is bytes or has units, and is not zero", () => {
    expectEach(size, [
      ["1", 1],
      ["64k", 65_536],
      ["128MiB", 134_217_728],
      ["1GB", 1_000_000_000],
      ["0", undefined],
      ["-1", undefined],
      ["1TiBx", undefined],
      ["many", undefined],
    ]);
  });

  test("a whole number stands within its bounds", () => {
    expectEach(integer(1, 4096), [
      ["1", 1],
      [" 4096 ", 4096],
      ["0", undefined],
      ["4097", undefined],
      ["1.5", undefined],
      ["1e3", undefined],
      ["0x10", undefined],
      ["", undefined],
    ]);
  });

  test("a switch is true, yes, 1 or their opposites in any case", () => {
    expectEach(onOff, [
      ["true", true],
      ["YES", true],
      ["1", true],
      ["False", false],
      ["no", false],
      ["0", false],
      ["on", undefined],
      ["toString", undefined],
      ["", undefined],
    ]);
  });

  test("a label is one line that shows", () => {
    expectEach(label(5), [
      [" abc ", "abc"],
      ["größe", "größe"],
      ["abcdef", undefined],
      ["a\nb", undefined],
      ["a\u001b", undefined],
      ["  ", undefined],
    ]);
  });

  test("a path becomes absolute", () => {
    expectEach(path, [
      ["/a/../b", "/b"],
      ["c", `${process.cwd()}/c`],
      [" ", undefined],
    ]);
  });

  test("an http address loses its last slash and keeps its path", () => {
    expectEach(httpAddress, [
      ["http://127.0.0.1:8000/", "http://127.0.0.1:8000"],
      ["https://Relay.example.com/base/", "https://relay.example.com/base"],
      ["127.0.0.1:8000", undefined],
      ["ws://relay.example.com", undefined],
      ["http://a.example/?x=1", undefined],
      ["http://a.example/#x", undefined],
      ["http://", undefined],
    ]);
  });

  test("web origins are a star, none, or a list without paths", () => {
    expectEach(origins, [
      ["*", ["*"]],
      ["none", []],
      ["https://a.example, https://b.example:8443/", ["https://a.example", "https://b.example:8443"]],
      ["https://a.example,https://a.example", ["https://a.example"]],
      ["*,https://a.example", undefined],
      ["https://a.example/path", undefined],
      ["https://ada@a.example", undefined],
      ["a.example", undefined],
      ["https://a.example,", undefined],
    ]);
  });

  test("models are a star, names, or names under another name", () => {
    expectEach(modelChoice, [
      ["*", { all: true, names: [] }],
      [
        "a, org/b:8b",
        {
          all: false,
          names: [
            { public: "a", backend: "a" },
            { public: "org/b:8b", backend: "org/b:8b" },
          ],
        },
      ],
      ["gpt-4o=llama3.1:8b,*", { all: true, names: [{ public: "gpt-4o", backend: "llama3.1:8b" }] }],
      [
        "a=x,b=x",
        {
          all: false,
          names: [
            { public: "a", backend: "x" },
            { public: "b", backend: "x" },
          ],
        },
      ],
      ["a,a", undefined],
      ["a=x,a=y", undefined],
      ["a,,b", undefined],
      ["=a", undefined],
      ["a=", undefined],
      ["a=*", undefined],
      ["a=b=c", undefined],
      ["a\tb", undefined],
      ["x".repeat(257), undefined],
      ["", undefined],
    ]);
  });
});
