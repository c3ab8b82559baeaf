import { Channel } from "../../src/protocol/channel.ts";
import { FRAME } from "../../src/protocol/frames.ts";
import { CLOSE, V2_UNACKED_LIMIT } from "../../src/protocol/limits.ts";
import { ProtocolError } from "../../src/protocol/messages.ts";
import { carrierTo, RelayEnd, WINDOW, WorkerEnd } from "./ends.ts";
import { Random } from "./random.ts";
import { damaged, relayTraffic, workerTraffic } from "./traffic.ts";
import { ackFrame, framesIn, joined, type Bytes } from "./wire.ts";

const CODES: readonly number[] = [CLOSE.protocol, CLOSE.tooLarge, CLOSE.flow];
const TO_WORKER = new Set<number>([
  FRAME.control,
  FRAME.request,
  FRAME.body,
  FRAME.end,
  FRAME.cancel,
  FRAME.credit,
  FRAME.ack,
  FRAME.ping,
  FRAME.resumed,
]);
const TO_RELAY = new Set<number>([
  FRAME.control,
  FRAME.head,
  FRAME.body,
  FRAME.end,
  FRAME.fail,
  FRAME.credit,
  FRAME.ack,
  FRAME.pong,
  FRAME.resume,
]);

/** @returns false if it ended with the one error that is allowed, which is the end of a link */
function survives(act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    if (!CODES.includes(error.closeCode) || !error.message.startsWith("Cannot "))
      throw new Error(`It ended with ${error.closeCode}: ${error.message}`, { cause: error });
    return false;
  }
}

function insist(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

/** Whatever comes, a channel takes frames or ends with one typed error, and keeps no more than it may. */
export function fuzzChannel(seed: number): void {
  const random = new Random(seed);
  const sent: Bytes[] = [];
  let counted = 0;
  let flush = (): void => {};
  const channel = new Channel({
    schedule: (later) => void (flush = later),
    frame: (type) => void (counted += type < 0x80 ? 1 : 0),
    overflowed() {},
  });
  channel.attach(carrierTo(sent));
  let written = 0;
  for (let turn = random.below(12); turn >= 0; turn--) {
    switch (random.below(6)) {
      case 0:
        flush();
        break;
      case 1: {
        channel.detach();
        const count = random.oneIn(4) ? random.next() - 5 : random.below(written + 2);
        if (!survives(() => channel.resume(carrierTo(sent), count))) return;
        break;
      }
      case 2:
        if (!survives(() => channel.receive(ackFrame(random.below(written + 2))))) return;
        break;
      case 3: {
        const bytes = damaged(random, workerTraffic(random, 2));
        for (const piece of random.split(bytes)) if (!survives(() => channel.receive(piece))) return;
        break;
      }
      default:
        channel.send(FRAME.body, 1, random.bytes(random.below(50)));
        written++;
    }
    insist(channel.received === counted, `It counted ${channel.received} of ${counted} frames`);
    insist(channel.unacked >= 0 && channel.unacked <= V2_UNACKED_LIMIT, `It keeps ${channel.unacked} bytes`);
  }
  flush();
  channel.detach();
  channel.resume(carrierTo(sent), written);
  insist(channel.unacked === 0, `It keeps ${channel.unacked} bytes that are acknowledged`);
}

/** Whatever a worker sends, a relay's codec hears of each request in order and within its window. */
export function fuzzRelay(seed: number): void {
  const random = new Random(seed);
  const relay = new RelayEnd(false);
  const bytes = damaged(random, workerTraffic(random, 3));
  let asked = 0;
  for (const piece of random.split(bytes)) {
    if (!survives(() => relay.codec.receive(piece))) break;
    if (relay.registrations > 0 && asked < 3) relay.ask(`r${++asked}`, random.pick([0, 10, 40_000]));
    if (random.oneIn(4)) takeSome(relay, random);
    if (random.oneIn(30)) relay.codec.cancel(`r${1 + random.below(3)}`, "timeout");
    if (random.oneIn(30)) relay.codec.ping(random.next());
    if (random.oneIn(60) && !survives(() => cutRelay(relay, random))) break;
    for (const [id, waiting] of relay.waiting) insist(waiting <= WINDOW, `${waiting} bytes wait for ${id}`);
  }
  insist(relay.registrations <= 1, "It took two registrations");
  for (const id of ["r1", "r2", "r3"]) {
    const order = relay.heard.filter((event) => event.id === id).map(({ event }) => event[0]);
    insist(/^(hb*)?[er]?$|^b?$|^hb*[eb]$/.test(order.join("")), `It heard ${order.join("")} of ${id}`);
  }
  for (const { type } of relay.frames()) insist(TO_WORKER.has(type), `It sent type ${type}`);
}

function takeSome(relay: RelayEnd, random: Random): void {
  for (const [id, waiting] of relay.waiting) {
    const taken = random.below(waiting + 1);
    relay.waiting.set(id, waiting - taken);
    relay.codec.consumed(id, taken);
  }
}

function cutRelay(relay: RelayEnd, random: Random): void {
  relay.codec.resumption!.suspend();
  relay.codec.resumption!.resume(carrierTo(relay.sent), random.below(4));
}

/** Whatever a relay sends, a worker's codec tells of each request once, whole, and answers what it was asked. */
export function fuzzWorker(seed: number): void {
  const random = new Random(seed);
  const worker = new WorkerEnd(false);
  const bytes = damaged(random, relayTraffic(random));
  const answered = new Set<string>();
  for (const piece of random.split(bytes)) {
    if (!survives(() => worker.codec.receive(piece))) break;
    if (random.oneIn(3)) answerSome(worker, random, answered);
    if (random.oneIn(60)) {
      worker.codec.continuation!.suspend();
      worker.codec.continuation!.ask(carrierTo(worker.sent));
    }
  }
  for (const request of worker.requests)
    insist(request.body.length <= bytes.length, "A request has more of a body than was sent");
  for (const { type } of framesIn(joined([...worker.sent])))
    insist(TO_RELAY.has(type), `It sent type ${type}`);
}

function answerSome(worker: WorkerEnd, random: Random, answered: Set<string>): void {
  for (const [id, writer] of worker.writers) {
    switch (random.below(4)) {
      case 0:
        if (!answered.has(id)) writer.head({ status: 200, headers: {} });
        answered.add(id);
        break;
      case 1:
        writer.body(random.bytes(random.pick([1, 100, 20_000])));
        break;
      case 2:
        writer.end();
        break;
      default:
        void writer.room();
    }
  }
}
