import { join } from "node:path";

export interface Heard {
  /** Process that the kernel says it came from. */
  pid: number;
  text: string;
}

/** The end of systemd on a notify socket. */
export interface NotifySocket extends AsyncDisposable {
  /** The next datagram; rejects if there will be none. */
  next(): Promise<Heard>;
}

/** Listens as systemd does; the runtime has no such sockets, and Python has. */
export async function listenAsSystemd(address: string): Promise<NotifySocket> {
  const script = join(import.meta.dir, "notify_socket.py");
  const child = Bun.spawn(["python3", script, address], { stdout: "pipe", stderr: "inherit", stdin: "pipe" });
  const lines = linesOf(child.stdout);
  const next = async (): Promise<string> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error(`The listener on ${address} ended`);
    return value;
  };
  // The first line says that it listens.
  await next();
  return {
    next: async () => JSON.parse(await next()) as Heard,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of stream) {
    rest += decoder.decode(bytes, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  return undefined;
}
