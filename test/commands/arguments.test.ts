import { describe, expect, test } from "bun:test";
import { wantsHelp } from "../../src/commands/arguments.ts";
import { nearestName } from "../../src/commands/nearest-name.ts";
import { serveOptions } from "../../src/commands/serve-options.ts";
import { workerOptions } from "../../src/commands/worker-options.ts";
import { mistake, reader } from "./reading.ts";

const serve = reader("serve", serveOptions);
const worker = reader("worker", workerOptions);

describe("Command line", () => {
  test("a value stands behind a space or an equals sign, which it may contain itself", () => {
    expect([
      worker(["--models", "a=b"]).config.models.names,
      worker(["--models=a=b"]).config.models.names,
      worker(["--worker-secret=-a=b"]).config.workerSecret,
    ]).toEqual([[{ public: "a", backend: "b" }], [{ public: "a", backend: "b" }], "-a=b"]);
  });

  test("a switch can be on, off, or have a value, and takes no word after it", () => {
    const read = (arg: string) => serve([arg], { MODELRELAY_ALLOW_ANONYMOUS: "true" }).config.allowAnonymous;
    expect(
      [
        "--allow-anonymous",
        "--no-allow-anonymous",
        "--allow-anonymous=false",
        "--allow-anonymous=YES",
        "--allow-anonymous=0",
      ].map(read),
    ).toEqual([true, false, false, true, false]);
    expect(mistake(() => serve(["--allow-anonymous", "false"])).message).toBe(
      'Cannot use "false": "modelrelay serve" takes only flags',
    );
  });

  test("a list flag may be repeated", () => {
    expect(
      serve(["--cors-origin", "https://a.example", "--cors-origin=https://b.example:8443/"]).config
        .corsOrigin,
    ).toEqual(["https://a.example", "https://b.example:8443"]);
  });

  const mistakes: [title: string, args: string[], message: string, action: string | undefined][] = [
    [
      "an unknown flag is named with the nearest known one",
      ["--lisen", "x"],
      'Cannot use flag --lisen: "modelrelay serve" has no such flag',
      "Did you mean --listen? See all with: modelrelay help serve",
    ],
    [
      "a flag with one dash is unknown",
      ["-listen=x"],
      'Cannot use flag -listen: "modelrelay serve" has no such flag',
      "Did you mean --listen? See all with: modelrelay help serve",
    ],
    [
      "a flag that resembles none gets no suggestion",
      ["--zebra"],
      'Cannot use flag --zebra: "modelrelay serve" has no such flag',
      "See all with: modelrelay help serve",
    ],
    [
      "the value of an unknown flag is not shown",
      ["--worker-secrt=hunter2"],
      'Cannot use flag --worker-secrt: "modelrelay serve" has no such flag',
      "Did you mean --worker-secret? See all with: modelrelay help serve",
    ],
    [
      "a repeated flag is refused",
      ["--provider", "a", "--provider=a"],
      "Cannot use --provider: --provider is given more than once",
      "Give it once",
    ],
    [
      "a switch and its opposite count as repeated",
      ["--allow-anonymous", "--no-allow-anonymous"],
      "Cannot use --no-allow-anonymous: --allow-anonymous is given more than once",
      "Give it once",
    ],
    [
      "a missing value at the end is refused",
      ["--listen"],
      "Cannot use --listen: its value is missing",
      'Write --listen HOST:PORT, or --listen=HOST:PORT if the value begins with "-"',
    ],
    [
      "a flag is not taken for the value of the one before it",
      ["--worker-secret-file", "--allow-anonymous"],
      "Cannot use --worker-secret-file: its value is missing",
      'Write --worker-secret-file FILE, or --worker-secret-file=FILE if the value begins with "-"',
    ],
    [
      "an empty value is a missing one",
      ["--provider="],
      "Cannot use --provider: its value is missing",
      'Write --provider NAME, or --provider=NAME if the value begins with "-"',
    ],
    [
      "the opposite of a switch takes no value",
      ["--no-allow-anonymous=true"],
      "Cannot use --no-allow-anonymous with a value",
      "Write --no-allow-anonymous, or --allow-anonymous=false",
    ],
    [
      "a stray word is refused",
      ["--provider", "a", "stray\n"],
      'Cannot use "stray\\n": "modelrelay serve" takes only flags',
      "See all with: modelrelay help serve",
    ],
    [
      "a word after -- is a stray word",
      ["--", "--help"],
      'Cannot use "--help": "modelrelay serve" takes only flags',
      "See all with: modelrelay help serve",
    ],
    [
      "a stray word after a secret is not shown, since it is likely the rest of it",
      ["--worker-secret", "correct", "horse"],
      'Cannot use the word after the value of --worker-secret: "modelrelay serve" takes only flags; a value with spaces needs quotes',
      "See all with: modelrelay help serve",
    ],
    [
      "a bad value is named with what is accepted",
      ["--log-level=loud"],
      'Cannot use "loud" as log-level (flag --log-level): expected one of error, warn, info, debug, trace',
      undefined,
    ],
    [
      "a long value is cut",
      ["--log-level", "x".repeat(500)],
      `Cannot use "${"x".repeat(80)}…" as log-level (flag --log-level): expected one of error, warn, info, debug, trace`,
      undefined,
    ],
  ];
  for (const [title, args, message, action] of mistakes) {
    test(title, () => {
      expect(mistake(() => serve(args))).toEqual({ message, action });
    });
  }

  test("help is wanted wherever it stands before --", () => {
    expect([["--bogus", "--help"], ["-h"], ["--", "--help"], ["--helpme"], []].map(wantsHelp)).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
  });
});

describe("Nearest name", () => {
  const known = ["serve", "worker", "demo", "max-queue-len"];
  const cases: [given: string, nearest: string | undefined][] = [
    ["sevre", "serve"],
    ["srve", "serve"],
    ["WORKER", "worker"],
    ["max-que-len", "max-queue-len"],
    ["dmeo", "demo"],
    ["d", undefined],
    ["zebra", undefined],
    ["worker".repeat(50), undefined],
  ];
  test("is found within one edit for every three letters", () => {
    expect(cases.map(([given]) => [given, nearestName(given, known)])).toEqual(cases);
  });
});
