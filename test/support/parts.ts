import { existsSync, readFileSync, realpathSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join } from "node:path";
import { Problem } from "../../src/base/errors.ts";

/** A real server or program that some tests need and that does not come with the dependencies. */
export interface Part {
  /** Where it is, or `undefined` if this machine lacks it. Quick, and changes nothing. */
  find(): string | undefined;
  /** How `scripts/parts.ts` gets it. */
  source:
    | { kind: "apt"; packages: string[] }
    | { kind: "venv"; dir: string; requirements: string }
    | { kind: "go"; dir: string; module: string; version: string }
    /** A main package of the tests' own; `sources` is its folder. */
    | { kind: "go-sources"; dir: string; sources: string }
    | { kind: "debootstrap"; dir: string; suite: string; packages: string[] };
  /** Command for a person, shown where a test is skipped for want of it. */
  install: string;
}

/** Where parts that are built and files that are made are kept: outside the tree, for every checkout. */
export const cacheDir = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "modelrelay-test");

/** A program of the system's packages; servers often live outside an ordinary user's PATH. */
function program(name: string, ...packages: string[]): Part {
  const PATH = `${process.env["PATH"] ?? ""}:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin`;
  return {
    find: () => Bun.which(name, { PATH }) ?? undefined,
    source: { kind: "apt", packages },
    install: `sudo apt-get install ${packages.join(" ")}`,
  };
}

/** PostgreSQL's server programs, which Debian keeps apart for each version; found as the folder of the newest. */
function postgresServer(): Part {
  return {
    find() {
      const beside = Bun.which("initdb");
      if (beside !== null) return dirname(realpathSync(beside));
      const root = "/usr/lib/postgresql";
      if (!existsSync(root)) return undefined;
      const versions = [...new Bun.Glob("*/bin/initdb").scanSync(root)].map((path) => parseInt(path, 10));
      return versions.length === 0 ? undefined : join(root, String(Math.max(...versions)), "bin");
    },
    source: { kind: "apt", packages: ["postgresql"] },
    install: "sudo apt-get install postgresql",
  };
}

/** The spelling under which Python's installer files a package. */
function filedName(name: string): string {
  return name.toLowerCase().replaceAll(/[-_.]+/g, "_");
}

/** Python packages in an environment of their own; found as the environment's interpreter. */
function pythonEnvironment(name: string, requirements: string): Part {
  const dir = join(cacheDir, name);
  const python = join(dir, "bin/python");
  return {
    find() {
      if (!existsSync(python)) return undefined;
      const installed = new Set<string>();
      for (const entry of new Bun.Glob("lib/python3*/site-packages/*.dist-info").scanSync({
        cwd: dir,
        onlyFiles: false,
      })) {
        const [, distribution, version] = /([^/]+)-([^-/]+)\.dist-info$/.exec(entry) ?? [];
        if (distribution !== undefined) installed.add(`${filedName(distribution)}==${version}`);
      }
      const wanted = readFileSync(requirements, "utf8").matchAll(/^([\w.-]+)==(\S+)$/gm);
      return [...wanted].every(([, distribution, version]) =>
        installed.has(`${filedName(distribution!)}==${version}`),
      )
        ? python
        : undefined;
    },
    source: { kind: "venv", dir, requirements },
    install: `npm run parts ${name}`,
  };
}

/** A program built from a Go module; its version is part of the folder's name. */
function goProgram(part: string, module: string, version: string): Part {
  const dir = join(cacheDir, `${part}-${version}`);
  const path = join(dir, basename(module));
  return {
    find: () => (existsSync(path) ? path : undefined),
    source: { kind: "go", dir, module, version },
    install: `npm run parts ${part}`,
  };
}

/** A program whose main file stands beside this one, and whose dependencies its `go.sum` pins. */
function ownGoProgram(part: string, version: string): Part {
  const dir = join(cacheDir, `${part}-${version}`);
  const path = join(dir, part);
  return {
    find: () => (existsSync(path) ? path : undefined),
    source: { kind: "go-sources", dir, sources: join(import.meta.dir, part) },
    install: `npm run parts ${part}`,
  };
}

/** The smallest Debian and some packages, in a folder to change the root to. */
function debianRoot(part: string, suite: string, ...packages: string[]): Part {
  const dir = join(cacheDir, `${part}-${suite}`);
  return {
    find: () => (existsSync(dir) ? dir : undefined),
    source: { kind: "debootstrap", dir, suite, packages },
    install: `sudo npm run parts ${part}`,
  };
}

const BOOTED_PACKAGES = ["systemd-sysv", "dbus", "libpam-systemd", "curl", "procps"];

/** Every part. A new one is an entry here. */
export const PARTS = {
  /** What users paste requests for. */
  curl: program("curl", "curl"),
  wget: program("wget", "wget"),
  /** A shell and a set of tools, as small systems have them. */
  busybox: program("busybox", "busybox-static"),
  /** Looks for mistakes in shell scripts. */
  shellcheck: program("shellcheck", "shellcheck"),
  /** Shells whose completions are tried in them. */
  bash: program("bash", "bash"),
  zsh: program("zsh", "zsh"),
  fish: program("fish", "fish"),
  /** Read manual pages, and find mistakes in them. */
  man: program("man", "man-db", "groff"),
  mandoc: program("mandoc", "mandoc"),
  /** A machine on which nothing is but Debian's smallest set and curl. */
  debianRoot: debianRoot("debianRoot", "bookworm", "curl"),
  /** One that systemd boots, with services of users as well; and what boots it. */
  systemdRoot: debianRoot("systemdRoot", "bookworm", ...BOOTED_PACKAGES),
  nspawn: program("systemd-nspawn", "systemd-container"),
  /** Keeps keys and usage where several relays share them. */
  postgres: postgresServer(),
  /** Reverse proxy. */
  nginx: program("nginx", "nginx-light"),
  caddy: program("caddy", "caddy"),
  haproxy: program("haproxy", "haproxy"),
  /** Gets certificates from an ACME authority; what operators have had for years. */
  certbot: program("certbot", "certbot"),
  /** Let's Encrypt's ACME authority for tests, with the DNS server that it asks. */
  pebble: program("pebble", "pebble"),
  pebbleChallengeServer: program("pebble-challtestsrv", "pebble"),
  /** A newer one, with renewal information (RFC 9773) and profiles. */
  pebbleAri: goProgram("pebbleAri", "github.com/letsencrypt/pebble/v2/cmd/pebble", "v2.10.1"),
  /** Tries each rule of HTTP/2 and of its header compression on a server. */
  h2spec: goProgram("h2spec", "github.com/summerwind/h2spec/cmd/h2spec", "v2.2.1+incompatible"),
  /** Loads a server over HTTP/2. */
  h2load: program("h2load", "nghttp2-client"),
  /** Scrapes metrics; its tool checks rules of alerts. */
  prometheus: program("prometheus", "prometheus"),
  promtool: program("promtool", "prometheus"),
  /** Tries what a TLS server accepts, and the known attacks on it. */
  sslyze: pythonEnvironment("sslyze", join(import.meta.dir, "sslyze-requirements.txt")),
  /** Switches on the network of a machine that has nothing else. */
  ip: program("ip", "iproute2"),
  /** Schemas of Compose files and of Kubernetes, and a linter of Dockerfiles. */
  containers: pythonEnvironment("containers", join(import.meta.dir, "containers-requirements.txt")),
  /** A client of HTTP/3 that shares no code with Bun's. */
  aioquic: pythonEnvironment("aioquic", join(import.meta.dir, "aioquic-requirements.txt")),
  /** OpenTelemetry's collector, with its own receiver. */
  collector: ownGoProgram("collector", "v0.150.0"),
  /** llama.cpp with an OpenAI-compatible server, from PyPI's `llama-cpp-python`; and `gguf`. */
  llama: pythonEnvironment("llama", join(import.meta.dir, "llama-requirements.txt")),
} satisfies Record<string, Part>;

export type PartName = keyof typeof PARTS;

function missing(name: PartName): string {
  return `Cannot find the test part "${name}" on this machine`;
}

/**
 * Where a part is.
 *
 * @throws {Problem} if it is missing; the action is the command that installs it
 */
export function requirePart(name: PartName): string {
  const found = PARTS[name].find();
  if (found === undefined)
    throw new Problem(`${missing(name)}; install it with: ${PARTS[name].install}`, {
      action: PARTS[name].install,
    });
  return found;
}

const reported = new Set<PartName>();

/**
 * Whether a test that needs these parts is to be skipped: `test.skipIf(lacksPart("nginx"))(…)`. Says once
 * for each missing part what to do. With `CI=true` always false: there, the test has to fail.
 */
export function lacksPart(...names: PartName[]): boolean {
  if (process.env["CI"] === "true") return false;
  const absent = names.filter((name) => PARTS[name].find() === undefined);
  for (const name of absent) {
    if (!reported.has(name))
      process.stderr.write(
        `${missing(name)}: its tests are skipped. Install it with: ${PARTS[name].install}\n`,
      );
    reported.add(name);
  }
  return absent.length > 0;
}
