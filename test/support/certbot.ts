import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram } from "../e2e/program.ts";
import { requirePart } from "./parts.ts";
import type { Pebble } from "./pebble.ts";

/** certbot with folders of its own, as one machine of an operator has it. */
export interface Certbot extends Disposable {
  /** What `serve --tls-cert` and `--tls-key` are given. */
  files(name: string): { chain: string; key: string };
  chainPem(name: string): string;
  /** Runs it to its end. @throws {Error} with its output, if it fails */
  run(...args: string[]): Promise<string>;
}

/** @throws {Problem} if the part is missing */
export function makeCertbot(pebble: Pebble): Certbot {
  const certbot = requirePart("certbot");
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-certbot-"));
  const authority = join(dir, "pebble.pem");
  writeFileSync(authority, pebble.caPem);
  const live = (name: string, file: string): string => join(dir, "etc/live", name, `${file}.pem`);
  return {
    files: (name) => ({ chain: live(name, "fullchain"), key: live(name, "privkey") }),
    chainPem: (name) => readFileSync(live(name, "fullchain"), "utf8"),
    async run(...args) {
      const own = ["etc", "lib", "log"].map((name) => join(dir, name));
      const folders = [`--config-dir=${own[0]}`, `--work-dir=${own[1]}`, `--logs-dir=${own[2]}`];
      const server = ["--non-interactive", "--server", pebble.directoryUrl];
      const env = { REQUESTS_CA_BUNDLE: authority, NO_PROXY: "*" };
      const done = await runProgram([certbot, ...args, ...folders, ...server], { env });
      if (done.code !== 0) throw new Error(`certbot ${args.join(" ")} failed:\n${done.stdout}${done.stderr}`);
      return done.stdout + done.stderr;
    },
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
}

/** What the first order needs to know besides the name. */
export const ACCOUNT = ["--agree-tos", "--register-unsafely-without-email"];
