import { FRAME, FrameDecoder, HEADER_BYTES, writeHeader } from "../../src/protocol/frames.ts";
import { V2_SUBPROTOCOL } from "../../src/protocol/limits.ts";
import { SECRET } from "../support/relays.ts";

/** Asks a relay to go on with a session, and leaves without a word once it has answered. */
export async function resumeAs(
  url: string,
  asked: { session: string; received: number },
  secret = SECRET,
): Promise<string> {
  const answered = Promise.withResolvers<string>();
  const socket = new WebSocket(`${url.replace("http", "ws")}/v1/worker/connect`, {
    headers: { "x-worker-secret": secret },
    protocols: [V2_SUBPROTOCOL],
  } as unknown as string[]);
  socket.binaryType = "arraybuffer";
  const decoder = new FrameDecoder((type) => {
    if (type === FRAME.resumed) answered.resolve("resumed");
    if (type === FRAME.refused) answered.resolve("refused");
  });
  socket.addEventListener("open", () => {
    const payload = Buffer.from(JSON.stringify(asked));
    const frame = new Uint8Array(HEADER_BYTES + payload.length);
    writeHeader(frame, 0, FRAME.resume, 0, payload.length);
    frame.set(payload, HEADER_BYTES);
    socket.send(frame);
  });
  socket.addEventListener("message", ({ data }) => decoder.push(new Uint8Array(data as ArrayBuffer)));
  socket.addEventListener("error", () => answered.resolve("not let in"));
  socket.addEventListener("close", ({ code }) => answered.resolve(`closed with ${code}`));
  const outcome = await answered.promise;
  socket.terminate();
  return outcome;
}
