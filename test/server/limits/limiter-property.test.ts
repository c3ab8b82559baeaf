import { describe, expect, test } from "bun:test";
import type { Limits } from "../../../src/server/client.ts";
import type { Moment, Need, Subject } from "../../../src/server/limits/account.ts";
import { periodStart } from "../../../src/server/limits/budget.ts";
import { Limiter, Reservation } from "../../../src/server/limits/limiter.ts";
import { forSeeds, type Random } from "../../fuzz/random.ts";

const MINUTE = 60_000;

/** What a test remembers of a request that was let in. */
interface Sent {
  subjects: Subject[];
  reservation: Reservation;
  need: Need;
  at: Moment;
  /** `undefined` while it runs. */
  tokens: number | undefined;
  endedAt: number;
}

/** In [0, 1), more often small. */
function small(random: Random): number {
  return (random.next() / 2 ** 32) ** 3;
}

function randomLimits(random: Random): Limits {
  return {
    ...(random.oneIn(2) && { requestsPerMinute: random.pick([1, 7, 60, 600]) }),
    ...(random.oneIn(2) && { tokensPerMinute: random.pick([100, 1_000, 50_000]) }),
    ...(random.oneIn(2) && { concurrency: random.pick([1, 3, 20]) }),
    ...(random.oneIn(2) && {
      budget: {
        tokens: random.pick([0, 500, 20_000]),
        period: random.oneIn(2) ? ("day" as const) : ("month" as const),
      },
    }),
  };
}

function randomNeed(random: Random): Need {
  const sure = Math.floor(small(random) * 3_000);
  return { sure, guess: random.oneIn(2) ? 0 : 1_000 };
}

/** Reservations, settlements, abandonments and steps of both clocks, as they come. */
class World {
  readonly limiter = new Limiter();
  readonly sent: Sent[] = [];
  readonly subjects: Subject[];
  readonly #random: Random;
  now = 1_000;
  wall = Date.UTC(2026, 10, 30, 22);
  refused = 0;

  constructor(random: Random) {
    this.#random = random;
    const keys = [0, 1, 2].map((id) => ({
      kind: "key" as const,
      id: `k${id}`,
      limits: randomLimits(random),
    }));
    this.subjects = [...keys, { kind: "relay", id: "", limits: randomLimits(random) }];
  }

  get moment(): Moment {
    return { now: this.now, wall: this.wall };
  }

  get running(): Sent[] {
    return this.sent.filter(({ tokens }) => tokens === undefined);
  }

  step(): void {
    const random = this.#random;
    switch (random.below(8)) {
      case 0:
      case 1:
      case 2:
        for (let parallel = 1 + random.below(6); parallel > 0; parallel--) this.send();
        return;
      case 3:
      case 4: {
        const running = this.running;
        if (running.length > 0) this.end(random.pick(running));
        return;
      }
      case 5: {
        const ms = small(random) * 3 * MINUTE;
        this.now += ms;
        this.wall += ms;
        return;
      }
      case 6:
        // Only the wall clock can be set: forwards by hours, and back by minutes.
        this.wall += random.oneIn(2) ? small(random) * 20 * 60 * MINUTE : -small(random) * 10 * MINUTE;
        return;
      default:
        this.now += 0.25;
        return;
    }
  }

  send(): void {
    const random = this.#random;
    const [relay] = this.subjects.slice(-1);
    const subjects = [random.pick(this.subjects.slice(0, -1)), relay!];
    const at = this.moment;
    let need: Need = { sure: 1, guess: 0 };
    const before = subjects.map((subject) => this.limiter.standing([subject], at));
    const reservation = this.limiter.reserve(subjects, need, at);
    if (!(reservation instanceof Reservation)) {
      this.refused++;
      // What is refused costs nothing.
      expect(subjects.map((subject) => this.limiter.standing([subject], at))).toEqual(before);
      return;
    }
    if (random.oneIn(2)) {
      need = randomNeed(random);
      if (this.limiter.adjust(reservation, need, at) !== undefined) {
        this.refused++;
        const after = subjects.map((subject) => this.limiter.standing([subject], at));
        for (const [index, standing] of after.entries()) {
          expect(standing.requests?.remaining).toBe(before[index]?.requests?.remaining as number);
          expect(standing.tokens?.remaining).toBe(before[index]?.tokens?.remaining as number);
        }
        return;
      }
    }
    this.sent.push({ subjects, reservation, need, at, tokens: undefined, endedAt: 0 });
  }

  /** Within its estimate, or, now and then, beyond it; an abandoned one has made little. */
  end(request: Sent): void {
    const random = this.#random;
    const { sure, guess } = request.need;
    request.tokens = Math.floor(
      random.oneIn(5) ? (sure + guess) * 2 : small(random) * (sure + (random.oneIn(2) ? guess : 0)),
    );
    request.endedAt = this.now;
    this.limiter.settle(request.reservation, request.tokens, this.moment);
    if (random.oneIn(3)) this.limiter.settle(request.reservation, 1_000_000, this.moment);
  }
}

function of(world: World, subject: Subject): Sent[] {
  return world.sent.filter(({ subjects }) => subjects.includes(subject));
}

/** Tokens that were set aside for a request under a limit of so many. */
function reserved({ need }: Sent, limit: number): number {
  return need.sure + Math.min(need.guess, Math.max(0, limit - need.sure));
}

/** The largest sum in any stretch of time, over what a rate gives in it. */
function mostOver(perMinute: number, events: { at: number; amount: number }[]): number {
  let most = 0;
  for (let from = 0; from < events.length; from++) {
    let sum = 0;
    for (let to = from; to < events.length; to++) {
      sum += events[to]!.amount;
      const minutes = (events[to]!.at - events[from]!.at) / MINUTE;
      most = Math.max(most, sum - perMinute * (1 + minutes));
    }
  }
  return most;
}

describe("Whatever comes in whatever order", () => {
  test("no more requests run at once than may, and none is forgotten that has ended", () => {
    forSeeds(100, (random) => {
      const world = new World(random);
      for (let step = 0; step < 150; step++) {
        world.step();
        for (const subject of world.subjects) {
          const running = of(world, subject).filter(({ tokens }) => tokens === undefined).length;
          expect(running).toBeLessThanOrEqual(subject.limits.concurrency ?? Number.POSITIVE_INFINITY);
        }
      }
      for (const request of world.running) world.end(request);
      // Now each may run as many as at first, once time has brought back the rest.
      world.now += 1_000 * MINUTE;
      for (const subject of world.subjects) {
        const { concurrency = 5 } = subject.limits;
        const alone = { ...subject, limits: { concurrency } };
        for (let more = 0; more < concurrency; more++)
          expect(world.limiter.reserve([alone], { sure: 0, guess: 0 }, world.moment)).toBeInstanceOf(
            Reservation,
          );
      }
    });
  });

  test("no more requests come in any stretch of time than a minute's worth and what it brings", () => {
    let refused = 0;
    forSeeds(100, (random) => {
      const world = new World(random);
      for (let step = 0; step < 200; step++) world.step();
      refused += world.refused;
      for (const subject of world.subjects) {
        const { requestsPerMinute } = subject.limits;
        if (requestsPerMinute === undefined) continue;
        const events = of(world, subject).map(({ at }) => ({ at: at.now, amount: 1 }));
        expect(mostOver(requestsPerMinute, events)).toBeLessThanOrEqual(1e-6);
      }
    });
    expect(refused).toBeGreaterThan(1_000);
  });

  test("no more tokens are used than that, but for what requests took beyond their estimates", () => {
    let tight = 0;
    forSeeds(200, (random) => {
      const world = new World(random);
      for (let step = 0; step < 200; step++) world.step();
      for (const subject of world.subjects) {
        const { tokensPerMinute } = subject.limits;
        if (tokensPerMinute === undefined) continue;
        const sent = of(world, subject);
        const events = sent.map((request) => ({
          at: request.at.now,
          amount: Math.min(request.tokens ?? Number.POSITIVE_INFINITY, reserved(request, tokensPerMinute)),
        }));
        const over = mostOver(tokensPerMinute, events);
        expect(over).toBeLessThanOrEqual(1e-3);
        if (over > -0.2 * tokensPerMinute && sent.length > 3) tight++;
      }
    });
    // The bound would prove nothing if nobody came near it.
    expect(tight).toBeGreaterThan(20);
  });

  test("what was taken beyond the estimates has to wear off before others may come", () => {
    forSeeds(100, (random) => {
      const world = new World(random);
      for (let step = 0; step < 200; step++) world.step();
      for (const request of world.running) world.end(request);
      for (const subject of world.subjects) {
        const { tokensPerMinute } = subject.limits;
        if (tokensPerMinute === undefined) continue;
        // All that was used, as if it had been taken when it became known at the latest.
        const events = of(world, subject).flatMap((request) => {
          const set = reserved(request, tokensPerMinute);
          const tokens = request.tokens ?? 0;
          return [
            { at: request.at.now, amount: Math.min(tokens, set) },
            { at: request.endedAt, amount: Math.max(0, tokens - set) },
          ];
        });
        let fullAt = Number.NEGATIVE_INFINITY;
        for (const { at, amount } of events.sort((a, b) => a.at - b.at))
          fullAt = Math.max(fullAt, at) + (amount * MINUTE) / tokensPerMinute;
        const alone = { ...subject, limits: { tokensPerMinute } };
        // Takes nothing, and leaves the limit on tokens alone.
        expect(world.limiter.reserve([alone], { sure: 0, guess: 0 }, world.moment)).toBeInstanceOf(
          Reservation,
        );
        const { tokens } = world.limiter.standing([alone], world.moment);
        expect(tokens?.resetMs).toBeCloseTo(Math.max(0, fullAt - world.now), 2);
      }
    });
  });

  test("no budget is passed by more than what requests took beyond their estimates", () => {
    forSeeds(200, (random) => {
      const world = new World(random);
      for (let step = 0; step < 200; step++) world.step();
      for (const request of world.running) world.end(request);
      for (const subject of world.subjects) {
        const { budget } = subject.limits;
        if (budget === undefined) continue;
        const spent = new Map<number, { within: number; beyond: number }>();
        for (const { at, need, tokens = 0 } of of(world, subject)) {
          const start = periodStart(budget.period, at.wall);
          const sum = spent.get(start) ?? { within: 0, beyond: 0 };
          spent.set(start, sum);
          sum.within += Math.min(tokens, need.sure);
          sum.beyond += Math.max(0, tokens - need.sure);
        }
        for (const { within } of spent.values()) expect(within).toBeLessThanOrEqual(budget.tokens);
      }
    });
  });

  test("a refusal holds exactly until the time that it names", () => {
    let waited = 0;
    forSeeds(300, (random) => {
      const world = new World(random);
      for (let step = 0; step < 50; step++) world.step();
      for (const request of world.running) world.end(request);
      const { limiter, now, wall } = world;
      const subject = random.pick(world.subjects);
      const need = randomNeed(random);
      let refusal = limiter.reserve([subject], need, { now, wall });
      for (let sent = 0; sent < 700 && refusal instanceof Reservation; sent++)
        refusal = limiter.reserve([subject], need, { now, wall });
      if (refusal instanceof Reservation || refusal.limit === "concurrency") return;
      const waitMs = Number.isFinite(refusal.waitMs) ? refusal.waitMs : 400 * 24 * 60 * MINUTE;
      if (waitMs > 1) {
        const early = { now: now + waitMs - 1, wall: wall + waitMs - 1 };
        expect(limiter.reserve([subject], need, early)).not.toBeInstanceOf(Reservation);
      }
      if (!Number.isFinite(refusal.waitMs)) return;
      const later = limiter.reserve([subject], need, { now: now + waitMs, wall: wall + waitMs });
      // What holds then is another limit, which was not the longer one.
      if (!(later instanceof Reservation)) expect(later.limit).toBe("concurrency");
      waited++;
    });
    expect(waited).toBeGreaterThan(50);
  });
});
