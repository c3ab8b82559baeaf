/** Something to build for: our name, Bun's name, and the ending of the file. */
export interface Target {
  /** As in `modelrelay-<name>` and in `--version`. */
  name: string;
  bunTarget: string;
  suffix: "" | ".exe";
}

function target(name: string, suffix: Target["suffix"] = ""): Target {
  return { name, bunTarget: `bun-${name}`, suffix };
}

/** What a release holds. */
export const TARGETS: readonly Target[] = [
  target("linux-x64"),
  target("linux-x64-baseline"),
  target("linux-arm64"),
  target("linux-x64-musl"),
  target("linux-arm64-musl"),
  target("darwin-x64"),
  target("darwin-arm64"),
  target("windows-x64", ".exe"),
];

/** The name of the platform that this process runs on. */
export function hostPlatform(): string {
  const os = process.platform === "win32" ? "windows" : process.platform;
  const header = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  const musl = os === "linux" && header?.header?.glibcVersionRuntime === undefined ? "-musl" : "";
  return `${os}-${process.arch}${musl}`;
}
