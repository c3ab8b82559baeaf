import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf, Problem } from "../base/errors.ts";
import { describeNetworkError } from "../base/network-error.ts";
import { oneLine } from "../base/one-line.ts";
import { trustedRoots } from "../base/trusted-roots.ts";
import { formatBytes } from "../base/bytes.ts";
import { withoutPassword } from "../base/without-password.ts";
import { readSums } from "./sums.ts";
import { writeAll } from "./unpacked.ts";
import { parseVersion } from "./version.ts";

// How a release is laid out stands in scripts/release.ts.

/** Time without a byte after which a server counts as gone. */
const SILENCE_MS = 60_000;
/** Beyond any list of sums; what is longer is some page. */
const MAX_TEXT = 1024 * 1024;
/** Ten times what an archive has. */
const MAX_ARCHIVE = 512 * 1024 * 1024;

export interface ReleaseParts {
  clock: Clock;
  /** Ends what is on its way. */
  signal: AbortSignal;
}

/** The file of a release for one platform. */
export interface Archive {
  version: string;
  name: string;
  /** SHA-256 in hex, as the release says. */
  sum: string;
}

/** What a release address offers. */
export class Releases {
  /** As messages show it. */
  readonly base: string;
  readonly #address: string;
  readonly #clock: Clock;
  readonly #signal: AbortSignal;

  /** @param address http or https, without a final slash; a name and password in it are for the server alone */
  constructor(address: string, { clock, signal }: ReleaseParts) {
    this.base = withoutPassword(address);
    this.#address = address;
    this.#clock = clock;
    this.#signal = signal;
  }

  /** @throws {Problem} if the address does not say */
  async newest(): Promise<string> {
    const text = await this.#text("latest.txt");
    const version = parseVersion(text);
    if (version !== undefined) return version;
    throw new Problem(
      `Cannot find the newest version at ${this.base}/latest.txt: "${oneLine(text.trim(), 40)}" is no version such as 1.2.3`,
      { action: `Check the release address, ${this.base}, and that this network needs no login` },
    );
  }

  /** @throws {Problem} if there is no such version, or nothing in it for the platform */
  async archive(version: string, platform: string): Promise<Archive> {
    const sums = readSums(await this.#text(`v${version}/SHA256SUMS`, version));
    const ending = platform.startsWith("windows-") ? "zip" : "tar.gz";
    const stem = `modelrelay-${version}-`;
    const name = `${stem}${platform}.${ending}`;
    const sum = sums.get(name);
    if (sum !== undefined) return { version, name, sum };
    const others = [...sums.keys()].map((other) => other.replace(stem, "")).join(", ");
    throw new Problem(`Cannot update to ${version} on ${platform}: the release has no ${name}`, {
      action: `It has: ${oneLine(others, 300) || "nothing"}; choose another version with --version`,
    });
  }

  /**
   * Downloads an archive into an open file.
   *
   * @param told called with the bytes that are there, and how many there will be where the server says so
   * @throws {Problem} if it does not arrive whole, or is not what the release's sums say
   */
  async download(
    { version, name, sum }: Archive,
    file: FileHandle,
    told: (received: number, total: number | undefined) => void,
  ): Promise<void> {
    const path = `v${version}/${name}`;
    const hash = createHash("sha256");
    await this.#read(path, { version, limit: MAX_ARCHIVE }, async (chunk, received, total) => {
      hash.update(chunk);
      await writeAll(file, chunk);
      told(received, total);
    });
    const actual = hash.digest("hex");
    if (actual === sum) return;
    throw new Problem(
      `Cannot trust ${this.base}/${path}: its SHA-256 is ${actual}, and SHA256SUMS says ${sum}`,
      {
        action: `It was cut short or changed on its way; nothing was changed here. Try again, and if that does not help, tell whoever runs ${this.base}`,
      },
    );
  }

  async #text(path: string, version?: string): Promise<string> {
    const chunks: Uint8Array[] = [];
    await this.#read(path, { version, limit: MAX_TEXT }, (chunk) => void chunks.push(chunk));
    return Buffer.concat(chunks).toString("utf8");
  }

  /** Hands on what the server sends, piece by piece, with how much has come and how much will. */
  async #read(
    path: string,
    { version, limit }: { version: string | undefined; limit: number },
    take: (chunk: Uint8Array, received: number, total: number | undefined) => Promise<void> | void,
  ): Promise<void> {
    const url = `${this.base}/${path}`;
    const silent = new AbortController();
    const watch = (): Timer =>
      this.#clock.after(SILENCE_MS, () =>
        silent.abort(new Error(`nothing came for ${SILENCE_MS / 1_000} s`)),
      );
    let timer = watch();
    let received = 0;
    let response: Response | undefined;
    try {
      response = await ask(`${this.#address}/${path}`, AbortSignal.any([this.#signal, silent.signal]));
      this.#check(response, url, version);
      const total = lengthOf(response);
      for await (const chunk of response.body ?? []) {
        timer.cancel();
        received += chunk.length;
        if (received > limit) throw tooLong(url, limit);
        await take(chunk, received, total);
        timer = watch();
      }
    } catch (cause) {
      this.#signal.throwIfAborted();
      if (cause instanceof Problem || isFileError(cause)) throw cause;
      const why = silent.signal.aborted
        ? messageOf(silent.signal.reason)
        : response === undefined
          ? describeNetworkError(cause)
          : cutAfter(received, lengthOf(response));
      throw new Problem(`Cannot download ${url}: ${why}`, {
        action:
          response === undefined
            ? "Check the address, the network and, where a proxy is needed, HTTPS_PROXY"
            : "Try again; nothing was changed",
        cause,
      });
    } finally {
      timer.cancel();
    }
  }

  #check(response: Response, url: string, version: string | undefined): void {
    if (this.#address.startsWith("https:") && !response.url.startsWith("https:")) {
      throw new Problem(
        `Cannot download ${url}: it leads to ${withoutPassword(response.url)}, which is not encrypted`,
        {
          action: `Tell whoever runs ${this.base}`,
        },
      );
    }
    if (response.ok) return;
    if (response.status === 404 && version !== undefined) {
      throw new Problem(`Cannot find modelrelay ${version}: ${url} is not there (HTTP status 404)`, {
        action: `Check the version: ${this.base}/latest.txt names the newest`,
      });
    }
    const action =
      response.status >= 500
        ? "Try again later"
        : "Check the release address: --base-url, or MODELRELAY_BASE_URL";
    throw new Problem(`Cannot download ${url}: the server answers with HTTP status ${response.status}`, {
      action,
    });
  }
}

function ask(url: string, signal: AbortSignal): Promise<Response> {
  return fetch(url, {
    signal,
    // An archive is compressed as it is; some servers call that an encoding of it.
    decompress: false,
    headers: { "accept-encoding": "identity" },
    tls: { ca: trustedRoots() },
    // The silence of a server has its limit above; the runtime's own is five minutes.
    timeout: false,
  } as RequestInit);
}

function tooLong(url: string, limit: number): Problem {
  return new Problem(`Cannot download ${url}: it is longer than ${formatBytes(limit)}`, {
    action: "Check the release address: --base-url, or MODELRELAY_BASE_URL",
  });
}

function lengthOf({ headers }: Response): number | undefined {
  const length = headers.get("content-length");
  return length === null ? undefined : Number(length);
}

function cutAfter(received: number, total: number | undefined): string {
  return `the connection was cut after ${formatBytes(received)}${total === undefined ? "" : ` of ${formatBytes(total)}`}`;
}

/** Errors of the system's file calls name the call. */
function isFileError(thrown: unknown): boolean {
  return thrown instanceof Error && "syscall" in thrown && thrown.syscall === "write";
}
