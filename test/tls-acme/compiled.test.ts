import { expect, test } from "bun:test";
import { join } from "node:path";
import { pairMatches } from "../../src/tls/certificate.ts";
import { lacksPart } from "../support/parts.ts";
import { makeStore, startSite } from "../support/pebble-site.ts";

test.skipIf(lacksPart("pebble"))(
  "An executable gets a certificate of a CA whose own HTTPS has a private root, and of no other",
  async () => {
    using kept = makeStore();
    await using site = await startSite();
    site.answerFrom(kept.store);
    using made = makeStore();
    const executable = join(made.dir, "issuer");
    const issuer = join(import.meta.dir, "../support/pebble-issuer.ts");
    const build = Bun.spawn(
      [process.execPath, "build", "--compile", "--minify", "--bytecode", issuer, "--outfile", executable],
      { stdio: ["ignore", "ignore", "inherit"] },
    );
    expect(await build.exited).toBe(0);
    const issue = async (input: object) => {
      const child = Bun.spawn(
        [executable, JSON.stringify({ dir: kept.dir, names: ["a.example"], ...input })],
        {
          stdio: ["ignore", "pipe", "inherit"],
        },
      );
      return JSON.parse(await child.stdout.text());
    };
    const { directoryUrl, caPem } = site.options;
    expect(await issue({ directoryUrl })).toMatchObject({
      error: expect.stringContaining("Cannot trust the CA"),
    });
    expect(site.pebble.orderCount()).toBe(0);
    expect(pairMatches(await issue({ directoryUrl, caPem }))).toBe(true);
  },
  60_000,
);
