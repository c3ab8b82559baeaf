import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tarGz } from "../../scripts/archive.ts";
import { TempDir } from "../commands/reading.ts";
import { archivePath, TARGET } from "./releases.ts";

/** Versions of small releases. */
export const FIRST = "1.0.0";
export const SECOND = "1.1.0-rc.2";

const bytes = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

export interface SmallRelease {
  version: string;
  target?: string;
  /** What the executable does when it is run, as a shell script. */
  script?: string;
}

/**
 * Adds a release to the release address in `dir` and makes it the newest. Its executable is a shell script,
 * which costs a hundredth of the time where it does not matter what is installed.
 */
export async function addSmallRelease(
  dir: string,
  { version, target = TARGET, script }: SmallRelease,
): Promise<void> {
  const path = archivePath(version, target);
  const name = `modelrelay-${version}-${target}`;
  const text = script ?? `echo "modelrelay ${version} (0123456789, ${target})"`;
  const file = (inside: string, content: string, executable = false) => ({
    path: `${name}/${inside}`,
    bytes: bytes(content),
    executable,
  });
  const archive = await tarGz(
    [
      file("modelrelay", `#!/bin/sh\n${text}\n`, true),
      file("LICENSE", "MIT\n"),
      file("README.md", "# modelrelay\n"),
      file("systemd/modelrelay.service", "[Unit]\n"),
      file("share/man/man1/modelrelay.1", ".TH MODELRELAY 1\n"),
      file("share/bash-completion/completions/modelrelay", "complete\n"),
      file("share/zsh/site-functions/_modelrelay", "#compdef modelrelay\n"),
      file("share/fish/vendor_completions.d/modelrelay.fish", "complete\n"),
    ],
    1_700_000_000,
  );
  mkdirSync(join(dir, `v${version}`), { recursive: true });
  writeFileSync(join(dir, path), archive);
  const sum = createHash("sha256").update(archive).digest("hex");
  writeFileSync(join(dir, `v${version}`, "SHA256SUMS"), `${sum}  ${path.split("/")[1]}\n`);
  writeFileSync(join(dir, "latest.txt"), `${version}\n`);
}

/** A release address with the two small releases. */
export class SmallReleases extends TempDir {
  readonly script = join(this.path, "install.sh");

  private constructor() {
    super();
    // Other users install from it too.
    chmodSync(this.path, 0o755);
    copyFileSync(join(import.meta.dir, "../../install.sh"), this.script);
  }

  static async make(): Promise<SmallReleases> {
    const releases = new SmallReleases();
    await addSmallRelease(releases.path, { version: FIRST });
    await addSmallRelease(releases.path, { version: SECOND });
    return releases;
  }
}
