import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { watchFiles, type WatchedFilesOptions } from "../../src/tls/watched-files.ts";
import type { KeyPair } from "../../src/tls/certificate.ts";
import { selfSignedPair } from "../../src/tls/self-signed.ts";
import { ManualClock } from "../support/manual-clock.ts";

/** A clock whose wall can be set, as an administrator does. */
export class WallClock extends ManualClock {
  jumped = 0;

  override wall(): number {
    return super.wall() + this.jumped;
  }
}

/** A folder with two files in it, and everything that is said while they are watched. */
export class Desk {
  readonly dir = mkdtempSync(join(tmpdir(), "watched-files-"));
  readonly clock = new WallClock();
  readonly said: string[] = [];
  readonly served: string[] = [];
  certFile = join(this.dir, "fullchain.pem");
  keyFile = join(this.dir, "privkey.pem");

  pair(name: string, validDays = 90): KeyPair {
    return selfSignedPair({ names: [name], validDays, nowMs: this.clock.wall() });
  }

  put(pair: Partial<KeyPair>): void {
    if (pair.chainPem !== undefined) writeFileSync(this.certFile, pair.chainPem);
    if (pair.keyPem !== undefined) writeFileSync(this.keyFile, pair.keyPem);
  }

  async watch(more: Partial<WatchedFilesOptions> = {}) {
    const say = (level: string) => (message: string) => void this.said.push(`${level} ${message}`);
    const log = {
      verbose: false,
      error: say("error"),
      warn: say("warn"),
      info: say("info"),
      debug() {},
      often() {},
    };
    const files = await watchFiles({
      certFile: this.certFile,
      keyFile: this.keyFile,
      clock: this.clock,
      log,
      onChange: (_, facts) => void this.served.push(facts.names.join()),
      ...more,
    });
    return Object.assign(files, { [Symbol.dispose]: () => files.close() });
  }

  /** Lets the next look begin, and waits for its end. */
  async look(times = 1): Promise<void> {
    for (let count = 0; count < times; count += 1) {
      this.clock.advance(2_000);
      while (this.clock.pending.length === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true });
  }
}
