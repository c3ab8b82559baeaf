import { FRAME } from "../../src/protocol/frames.ts";
import type { Carrier, ResponseWriter } from "../../src/protocol/link.ts";
import { createV2RelayCodec } from "../../src/protocol/v2-relay.ts";
import { createV2WorkerCodec } from "../../src/protocol/v2-worker.ts";
import { framesIn, type Bytes, type Taken } from "../fuzz/wire.ts";

/** The frames that one end sends together. */
export interface Said {
  by: "worker" | "relay";
  frames: Taken[];
}

const SESSION = "bm90IHRvIGJlIGd1ZXNzZWQgYXQgYWxs";
const ignored = (): void => {};

/** The exchange that `docs/protocol.md` shows, by our own two ends. A step that is lost is not in it. */
export function workedExchange(): Said[] {
  const said: Said[] = [];
  let flushes: (() => void)[] = [];
  let connected = true;
  const schedule = (flush: () => void): void => void flushes.push(flush);
  const options = { schedule, overflowed: ignored, sessionId: SESSION };
  const carrier = (by: Said["by"]): Carrier => ({
    send(message) {
      if (connected) said.push({ by, frames: framesIn(new Uint8Array(message as Bytes)) });
    },
  });
  let writer: ResponseWriter | undefined;
  const relay = createV2RelayCodec(
    carrier("relay"),
    {
      registered: () => relay.accept({ workerId: "w_1", models: ["llama3.1"], warnings: [], features: [] }),
      head: ignored,
      body: ignored,
      end: ignored,
      broken: ignored,
      pong: ignored,
      models: ignored,
      complaint: ignored,
    },
    options,
  );
  const worker = createV2WorkerCodec(
    carrier("worker"),
    {
      accepted: ignored,
      request: (request) => void (writer = worker.respond(request)),
      cancel: ignored,
      ping: (ms) => worker.pong(1, ms),
      drain: ignored,
      refreshModels: ignored,
    },
    options,
  );

  let told = 0;
  /** Lets both ends say what they have to say, and hear it. */
  function deliver(): void {
    do {
      const ready = flushes;
      flushes = [];
      for (const flush of ready) flush();
      for (; told < said.length; told++) {
        const { by, frames } = said[told]!;
        for (const frame of frames) {
          const bytes = frameBytes(frame);
          // What the relay's shell does with the first frame of a connection.
          if (frame.type === FRAME.resume) relay.resumption?.resume(carrier("relay"), receivedIn(frame));
          else (by === "worker" ? relay : worker).receive(bytes);
        }
      }
    } while (flushes.length > 0);
  }

  worker.register({
    name: "gpu-1",
    models: ["llama3.1"],
    maxConcurrent: 2,
    load: 0,
    protocolVersion: undefined,
    features: [],
  });
  deliver();
  relay.request({
    id: "01J9",
    model: "llama3.1",
    method: "POST",
    path: "/v1/chat/completions",
    streaming: true,
    headers: { "content-type": "application/json" },
    body: Buffer.from('{"model":"llama3.1","stream":true}'),
  });
  deliver();
  writer!.head({ status: 200, headers: { "content-type": "text/event-stream" } });
  writer!.body(Uint8Array.from(Buffer.from("data: Hi\n\n")));
  deliver();
  relay.ping(1_767_225_600_000);
  deliver();

  connected = false;
  writer!.body(Uint8Array.from(Buffer.from("data: you\n\n")));
  deliver();
  relay.resumption!.suspend();
  worker.continuation!.suspend();
  connected = true;
  worker.continuation!.ask(carrier("worker"));
  deliver();
  writer!.end({ prompt: 9, completion: 2 });
  deliver();
  return said;
}

function receivedIn({ payload }: Taken): number {
  return (JSON.parse(Buffer.from(payload).toString()) as { received: number }).received;
}

/** As it stands on the wire, put together by no code of the program. */
export function frameBytes({ type, request, payload }: Taken): Bytes {
  const bytes = Buffer.alloc(8 + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes[3] = type;
  bytes.writeUInt32BE(request, 4);
  bytes.set(payload, 8);
  return new Uint8Array(bytes);
}
