import { createDemoModel, type DemoModelOptions } from "./model.ts";

export interface DemoBackendOptions extends DemoModelOptions {
  /** Port on 127.0.0.1; 0, the default, takes a free one. */
  port?: number;
}

/** A running demonstration backend. */
export interface DemoBackend {
  /** `http://127.0.0.1:<port>`, without a slash at the end. */
  readonly url: string;
  /** Ends the server and whatever it is still sending. */
  stop(): Promise<void>;
}

/**
 * Serves the demonstration model over HTTP on the loopback interface, as an inference server would.
 *
 * @throws if the port is taken
 */
export function startDemoBackend(options: DemoBackendOptions = {}): DemoBackend {
  const model = createDemoModel(options);
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: options.port ?? 0,
    // A slow stream is not an idle one.
    idleTimeout: 0,
    development: false,
    // True where `development` is false, unless it is said: a port that is taken would not be noticed.
    reusePort: false,
    fetch: (request) => model.fetch(request),
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    stop: () => server.stop(true),
  };
}
