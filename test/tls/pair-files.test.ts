import { describe, expect, test } from "bun:test";
import { chmodSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { Problem } from "../../src/base/errors.ts";
import type { WatchedFilesOptions } from "../../src/tls/watched-files.ts";
import { selfSignedPair } from "../../src/tls/self-signed.ts";
import { Desk } from "./watched-desk.ts";

const DAY = 86_400_000;

/** What a watch on the files is refused with. */
async function refusal(desk: Desk, more: Partial<WatchedFilesOptions> = {}): Promise<string> {
  try {
    (await desk.watch(more)).close();
    return "accepted";
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    expect(error.action).toBeString();
    expect(desk.clock.pending).toEqual([]);
    return `${error.message} → ${error.action}`;
  }
}

describe("Certificate files at the start", () => {
  test("are refused with the reason: missing, a dead link, a folder, a device, too large", async () => {
    using desk = new Desk();
    const missing = join(desk.dir, "none.pem");
    expect(await refusal(desk, { certFile: missing })).toBe(
      `Cannot read the certificate "${missing}": there is no such file → Correct --tls-cert, or have the certificate issued first`,
    );
    desk.put(desk.pair("a.example"));
    expect(await refusal(desk, { keyFile: missing })).toStartWith(
      `Cannot read the key "${missing}": there is no such file → Correct --tls-key`,
    );
    expect(await refusal(desk, { keyFile: join(desk.keyFile, "x") })).toContain("there is no such file");
    symlinkSync("../gone/fullchain.pem", missing);
    expect(await refusal(desk, { certFile: missing })).toContain(
      'it is a link to "../gone/fullchain.pem", where nothing is',
    );
    symlinkSync("loop", join(desk.dir, "loop"));
    expect(await refusal(desk, { certFile: join(desk.dir, "loop") })).toContain("its links go in a circle");
    expect(await refusal(desk, { certFile: desk.dir })).toEndWith(
      `it is a folder → Name the file in it, such as --tls-cert ${desk.certFile}`,
    );
    expect(await refusal(desk, { keyFile: "/dev/null" })).toContain("it is no regular file");
    desk.put({ chainPem: "x".repeat(1024 * 1024 + 1) });
    expect(await refusal(desk)).toContain("it has 1048577 bytes, which is too much for one");
  });

  test("are refused with the reason: not a pair, swapped, expired, encrypted, and say which files", async () => {
    using desk = new Desk();
    const [one, two] = [desk.pair("a.example"), desk.pair("b.example")];
    desk.put({ chainPem: one.chainPem, keyPem: two.keyPem });
    expect(await refusal(desk)).toContain("the key does not belong to it");
    desk.put({ chainPem: two.chainPem + one.chainPem, keyPem: one.keyPem });
    expect(await refusal(desk)).toContain("the chain is in the wrong order");
    desk.put({ chainPem: one.keyPem, keyPem: one.chainPem });
    expect(await refusal(desk)).toStartWith(
      `Cannot use the certificate: certificate and key are swapped (certificate "${desk.certFile}", key "${desk.keyFile}") → `,
    );
    desk.put({ ...one, keyPem: one.keyPem.replaceAll("PRIVATE", "ENCRYPTED PRIVATE") });
    expect(await refusal(desk)).toContain("it is encrypted with a passphrase");
    desk.put({ chainPem: "", keyPem: "" });
    expect(await refusal(desk)).toContain("it is not PEM");
    desk.put(one);
    desk.clock.jumped = 91 * DAY;
    expect(await refusal(desk)).toContain("it expired on");
  });

  test("are refused with the reason: this user may not read them", async () => {
    using desk = new Desk();
    desk.put(selfSignedPair({ names: ["a.example"], nowMs: Date.now() }));
    chmodSync(desk.dir, 0o755);
    chmodSync(desk.keyFile, 0);
    // Root may read everything, and so becomes somebody else.
    const other = process.getuid?.() === 0 ? ["setpriv", "--reuid=65534", "--clear-groups"] : [];
    const child = Bun.spawn(
      [
        ...other,
        process.execPath,
        join(import.meta.dir, "watched-files-child.ts"),
        desk.certFile,
        desk.keyFile,
      ],
      { stdout: "pipe", stderr: "inherit" },
    );
    expect(await new Response(child.stdout).text()).toMatch(
      /^Cannot read the key "\S+": the user "?\w+"? may not read it → Let the user read the file/,
    );
  });
});
