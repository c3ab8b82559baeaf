import { createReadStream, statSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

/** What the server does with a path instead of sending its file. */
export type Fault =
  /** Sends this. */
  | { bytes: string | Uint8Array }
  /** Sends half of the file, as if there were more, and cuts the connection. */
  | "cut"
  /** Sends half of the file, and then nothing. */
  | "stall"
  /** Answers with this status. */
  | number;

/** Any static file server, with faults where a test wants them. */
export interface ReleaseServer extends AsyncDisposable {
  url: string;
  /** The environment that makes install.sh download from here. */
  env: { MODELRELAY_BASE_URL: string };
  /** By path without the slash in front. */
  faults: Map<string, Fault>;
  /** Paths that were asked for. */
  asked: string[];
  /** Resolves when half of a file that stalls has been sent. */
  stalled: Promise<void>;
}

export async function serveReleases(dir: string): Promise<ReleaseServer> {
  const faults = new Map<string, Fault>();
  const asked: string[] = [];
  const stalled = Promise.withResolvers<void>();

  function sendHalf(response: ServerResponse, file: string, then: () => void): void {
    const { size } = statSync(file);
    response.writeHead(200, { "content-length": size });
    const half = createReadStream(file, { end: Math.floor(size / 2) });
    half.on("end", then);
    half.pipe(response, { end: false });
  }

  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? "/").slice(1);
    const file = join(dir, path);
    asked.push(path);
    const fault = faults.get(path);
    if (fault === "cut") sendHalf(response, file, () => response.destroy());
    else if (fault === "stall") sendHalf(response, file, stalled.resolve);
    else if (typeof fault === "number") response.writeHead(fault).end();
    else if (fault !== undefined) response.writeHead(200).end(fault.bytes);
    else {
      const found = statSync(file, { throwIfNoEntry: false });
      if (found?.isFile() !== true) response.writeHead(404).end();
      else {
        response.writeHead(200, { "content-length": found.size });
        createReadStream(file).pipe(response);
      }
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    env: { MODELRELAY_BASE_URL: url },
    faults,
    asked,
    stalled: stalled.promise,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
