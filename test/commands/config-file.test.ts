import { describe, expect, test } from "bun:test";
import { serveOptions } from "../../src/commands/serve-options.ts";
import { mistake, reader, TempDir } from "./reading.ts";

const serve = reader("serve", serveOptions);

function readFile(text: string): ReturnType<typeof serve> {
  using dir = new TempDir();
  return serve(["--config", dir.write("relay.toml", text)]);
}

/** The mistake in a file, with FILE for its path. */
function fileMistake(text: string): { message: string; action: string | undefined } {
  using dir = new TempDir();
  const path = dir.write("relay.toml", text);
  const { message, action } = mistake(() => serve(["--config", path]));
  return { message: message.replaceAll(path, "FILE"), action };
}

describe("Config file", () => {
  test("takes numbers, text, booleans and arrays, and either spelling of a key", () => {
    const { config } = readFile(`
      [serve]
      max_queue_len = 7
      queue-timeout = 1.5
      request-timeout = "2m"
      allow-anonymous = true
      cors-origin = ["https://a.example", "https://b.example"]
      worker-secret = "s"
      [worker]
      models = ["not", "read", "here"]
    `);
    expect(config).toMatchObject({
      maxQueueLen: 7,
      queueTimeoutMs: 1_500,
      requestTimeoutMs: 120_000,
      allowAnonymous: true,
      corsOrigin: ["https://a.example", "https://b.example"],
      workerSecret: "s",
    });
  });

  test("is found by MODELRELAY_CONFIG, and the flag wins", () => {
    using dir = new TempDir();
    const one = dir.write("one.toml", '[serve]\nprovider = "one"\n');
    const two = dir.write("two.toml", '[serve]\nprovider = "two"\n');
    expect([
      serve([], { MODELRELAY_CONFIG: one }).config.provider,
      serve(["--config", two], { MODELRELAY_CONFIG: one }).config.provider,
    ]).toEqual(["one", "two"]);
  });

  test("without the command's table changes nothing", () => {
    expect(readFile('[worker]\nmodels = "a"\n').origins.listen).toBe("default");
  });

  const mistakes: [title: string, text: string, message: string, action: string | undefined][] = [
    [
      "names an unknown key and the nearest known one",
      '[serve]\nlisten_adr = "x"\nlistem = "y"\n',
      'Cannot use key [serve].listen_adr in "FILE": there is no such setting',
      "See all with: modelrelay help serve",
    ],
    [
      "suggests the key that was meant",
      "[serve]\nmax-queue-length = 3\n",
      'Cannot use key [serve].max-queue-length in "FILE": there is no such setting',
      "Did you mean max-queue-len? See all with: modelrelay help serve",
    ],
    [
      "does not take the settings that are for the command line only",
      '[serve]\nconfig = "other.toml"\n',
      'Cannot use key [serve].config in "FILE": there is no such setting',
      "See all with: modelrelay help serve",
    ],
    [
      "names a bad value, its key and what is accepted",
      '[serve]\nlisten = "8080"\n',
      'Cannot use "8080" as listen ("FILE" key [serve].listen): expected HOST:PORT, such as 127.0.0.1:8080, [::1]:8080 or :8080',
      undefined,
    ],
    [
      "refuses a value of a type that no setting has",
      "[serve]\nlisten = 2026-01-01\n",
      'Cannot use the value of "FILE" key [serve].listen: expected text, a number, or true or false',
      undefined,
    ],
    [
      "refuses an array for a setting that is no list",
      '[serve]\nlisten = [":1", ":2"]\n',
      'Cannot use the value of "FILE" key [serve].listen: expected text, a number, or true or false',
      undefined,
    ],
    [
      "refuses a comma inside an item of an array",
      '[serve]\ncors-origin = ["https://a.example,https://b.example"]\n',
      'Cannot use the value of "FILE" key [serve].cors-origin: expected text, a number, or true or false, or an array of texts',
      undefined,
    ],
    [
      "refuses the same setting in two spellings",
      "[serve]\nmax-queue-len = 1\nmax_queue_len = 2\n",
      'Cannot use key [serve].max_queue_len in "FILE": max-queue-len is given more than once',
      "Give it once",
    ],
    [
      "refuses a key outside of a table",
      'listen = ":8080"\n',
      'Cannot use key listen in "FILE": it stands in no table',
      "Put it under [serve]",
    ],
    [
      "refuses an unknown table",
      "[server]\n",
      'Cannot use table [server] in "FILE": expected [serve], [worker], [demo]',
      "Did you mean serve? See all with: modelrelay help serve",
    ],
    [
      "refuses a value where a table belongs",
      "worker = 1\n",
      'Cannot use key worker in "FILE": it is the name of a table',
      "Write [worker] on its own line and its keys below it",
    ],
    [
      "names the line of a syntax mistake, and shows no secret that stands there",
      '[serve]\nprovider = "a"\nworker-secret = hunter2\n\nmax-queue-len = 3\n',
      'Cannot read the config file "FILE", line 3: Strings must be quoted',
      'Correct the TOML, such as: listen = "127.0.0.1:8080"',
    ],
    [
      "names the line of a key that stands twice",
      '[serve]\nprovider = "a"\n\nprovider = "b"\n[worker]\n',
      "Cannot read the config file \"FILE\", line 4: Cannot redefine key 'provider'",
      'Correct the TOML, such as: listen = "127.0.0.1:8080"',
    ],
  ];
  for (const [title, text, message, action] of mistakes) {
    test(title, () => {
      expect(fileMistake(text)).toEqual({ message, action });
    });
  }

  test.skipIf(process.platform !== "linux")("that has no end is given up on", () => {
    expect(mistake(() => serve(["--config", "/dev/zero"])).message).toBe(
      'Cannot read the config file "/dev/zero" (flag --config): it is longer than 4 MiB',
    );
  });

  test("that is missing or a directory is named with where it was given", () => {
    using dir = new TempDir();
    expect([
      mistake(() => serve(["--config", `${dir.path}/none.toml`])).message,
      mistake(() => serve([], { MODELRELAY_CONFIG: dir.path })).message,
    ]).toEqual([
      `Cannot read the config file "${dir.path}/none.toml" (flag --config): no such file`,
      `Cannot read the config file "${dir.path}" (environment variable MODELRELAY_CONFIG): it is a directory`,
    ]);
  });
});
