import { postHead, RawClient } from "../faults/raw-client.ts";
import { Random } from "../fuzz/random.ts";
import { bodyOf, type Asked } from "./paced-backend.ts";

/** What became of the requests. */
export interface Tally {
  whole: number;
  /** Left by their clients, in the middle. */
  left: number;
  cuts: number;
  /** What was not as it should have been. */
  wrong: string[];
}

export interface TrafficOptions {
  port: number;
  /** For how long new requests are sent. */
  forMs: number;
  clients: number;
  seed: number;
  /** Cuts a connection between relay and worker; called about once a second. */
  cut(kind: "close" | "reset"): void;
}

async function ask(port: number, asked: Asked & { stream?: boolean }, pad = 0): Promise<RawClient> {
  const client = await RawClient.connect(port);
  const body = JSON.stringify({ model: "m", messages: [], ...asked, pad: "p".repeat(pad) });
  client.write(postHead(Buffer.byteLength(body)) + body);
  return client;
}

async function check(tally: Tally, client: RawClient, asked: Asked): Promise<void> {
  const body = await client.answer();
  if (client.status === (asked.status ?? 200) && body.equals(Buffer.from(bodyOf(asked)))) tally.whole++;
  else tally.wrong.push(`${client.status} for ${JSON.stringify(asked)}: ${client.text.slice(-300)}`);
}

async function one(options: TrafficOptions, random: Random, tally: Tally): Promise<void> {
  const { port } = options;
  const seed = random.below(1_000_000);
  const events = 1 + random.below(60);
  const gapMs = random.below(12);
  switch (random.below(6)) {
    case 0:
    case 1:
    case 2: {
      const asked = { seed, events, gapMs };
      return check(tally, await ask(port, { ...asked, stream: true }), asked);
    }
    case 3: {
      const asked = { seed, events: events * 50, whole: true };
      return check(tally, await ask(port, asked, random.below(2_000_000)), asked);
    }
    case 4: {
      const asked = { seed, events: 1, whole: true, status: random.pick([400, 429, 503]) };
      return check(tally, await ask(port, { ...asked, stream: random.below(2) === 0 }), asked);
    }
    default: {
      const client = await ask(port, { seed, events: 1_000, gapMs: 2, stream: true });
      await client.until(() => client.received > 500);
      client.leave(random.pick(["close", "reset"]));
      tally.left++;
    }
  }
}

/** Streams, answers, uploads, errors and clients that leave, mixed, while links are cut. */
export async function runTraffic(options: TrafficOptions): Promise<Tally> {
  const tally: Tally = { whole: 0, left: 0, cuts: 0, wrong: [] };
  const end = performance.now() + options.forMs;
  async function client(seed: number): Promise<void> {
    const random = new Random(seed);
    while (performance.now() < end) {
      try {
        await one(options, random, tally);
      } catch (error) {
        tally.wrong.push(String(error));
      }
    }
  }
  let over = false;
  async function cutting(): Promise<void> {
    const random = new Random(options.seed);
    for (;;) {
      await Bun.sleep(500 + random.below(1_000));
      if (over) return;
      options.cut(random.pick(["close", "reset"]));
      tally.cuts++;
    }
  }
  const cuts = cutting();
  await Promise.all(Array.from({ length: options.clients }, (_, n) => client(options.seed * 1_000 + n)));
  over = true;
  await cuts;
  return tally;
}
