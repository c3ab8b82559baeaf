import { connect, constants, type ClientHttp2Stream } from "node:http2";
import type { Authority } from "./authority.ts";

/** One request over HTTP/2, whose answer is read as it comes. */
export interface Http2Call {
  status: Promise<number>;
  /** Waits until the body so far holds `text`. Rejects if it ends before. */
  until(text: string): Promise<void>;
  /** Takes this request back; the connection stays. */
  cancel(): void;
}

export interface Http2Client extends AsyncDisposable {
  post(path: string, body: unknown): Http2Call;
}

export function openHttp2(url: string, authority: Authority): Http2Client {
  const session = connect(url, { ca: authority.caPem });
  // Whoever waits for an answer learns of it there.
  session.on("error", () => {});
  return {
    post(path, body) {
      const stream = session.request({
        ":method": "POST",
        ":path": path,
        "content-type": "application/json",
      });
      stream.end(JSON.stringify(body));
      return follow(stream);
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => session.once("close", resolve));
      session.destroy();
      await closed;
    },
  };
}

function follow(stream: ClientHttp2Stream): Http2Call {
  let text = "";
  let over: Error | undefined;
  let wake = Promise.withResolvers<void>();
  const changed = (): void => {
    wake.resolve();
    wake = Promise.withResolvers();
  };
  const status = Promise.withResolvers<number>();
  status.promise.catch(() => {});
  stream.on("response", (headers) => status.resolve(headers[":status"] ?? 0));
  stream.setEncoding("utf8");
  stream.on("data", (data: string) => {
    text += data;
    changed();
  });
  const end = (error?: Error): void => {
    over ??= error ?? new Error(`The stream ended with: ${text}`);
    status.reject(over);
    changed();
  };
  stream.on("error", end);
  stream.on("close", () => end());
  return {
    status: status.promise,
    async until(wanted) {
      while (!text.includes(wanted)) {
        if (over !== undefined) throw over;
        await wake.promise;
      }
    },
    cancel: () => stream.close(constants.NGHTTP2_CANCEL),
  };
}
