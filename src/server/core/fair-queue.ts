import { Heap } from "./heap.ts";
import type { CoreRequest } from "./request.ts";

/** What decides whether a worker can take a request. */
export type Ask = Pick<CoreRequest, "model" | "needs">;

/** Who takes requests from the queue. */
export interface Taker {
  readonly models: ReadonlySet<string>;
  /** Bits of `NEEDS` that its link can carry. */
  readonly carries: number;
}

/** Requests that the same workers can take, of all senders. */
interface Kind extends Ask {
  readonly flows: Heap<Flow>;
  place: number;
}

/** One sender's requests of one kind, by first arrival. */
interface Flow {
  readonly kind: Kind;
  readonly sender: Sender;
  /** Place in the round: the lowest is next. */
  turn: number;
  first: Waiting | undefined;
  last: Waiting | undefined;
  place: number;
}

interface Sender {
  readonly id: string;
  readonly flows: Map<Kind, Flow>;
  /** When it began to wait, in the count of arrivals. */
  readonly since: number;
  length: number;
  place: number;
}

interface Waiting {
  readonly request: CoreRequest;
  readonly flow: Flow;
  before: Waiting | undefined;
  after: Waiting | undefined;
}

/** Requests without a model wait under this name; no model's name is empty. */
const ANY_MODEL = "";

/**
 * The waiting requests of one class. Senders take turns, and each sender's requests go by first arrival.
 *
 * A sender's place in the round is kept per kind of request, as a number in the count of arrivals and
 * turns: where it joined, or the last turn that it had with a worker who could take that kind. So a turn
 * counts against it wherever that worker could have served it, and nowhere else: who is served much by
 * one worker is not behind at another. A place is forgotten with the last request; who comes back joins
 * behind those who wait, with neither debt nor credit.
 *
 * A turn costs O(log n), times the kinds that the one sender waits for.
 */
export class FairQueue {
  readonly #kinds = new Heap<Kind>((a, b) => turnOf(a) < turnOf(b));
  readonly #byModel = new Map<string, Kind[]>();
  readonly #senders = new Map<string, Sender>();
  readonly #largest = new Heap<Sender>(
    (a, b) => a.length > b.length || (a.length === b.length && a.since > b.since),
  );
  readonly #waiting = new Map<CoreRequest, Waiting>();

  get length(): number {
    return this.#waiting.size;
  }

  /** Requests of one sender that wait. */
  lengthOf(sender: string): number {
    return this.#senders.get(sender)?.length ?? 0;
  }

  /** The sender that has most requests here; of several, the one that came last. */
  get largest(): { id: string; length: number } | undefined {
    return this.#largest.first;
  }

  add(request: CoreRequest): void {
    const sender = this.#sender(request);
    const flow = this.#flow(sender, request);
    // A lost worker's request that comes back has its turn again.
    if (request.turn < flow.turn) this.#setTurn(flow, request.turn);
    const waiting: Waiting = { request, flow, before: undefined, after: undefined };
    this.#waiting.set(request, waiting);
    link(waiting);
    sender.length++;
    this.#largest.moved(sender);
  }

  remove(request: CoreRequest): boolean {
    const waiting = this.#waiting.get(request);
    if (waiting === undefined) return false;
    this.#waiting.delete(request);
    unlink(waiting);
    const { flow } = waiting;
    if (flow.first === undefined) this.#close(flow);
    const { sender } = flow;
    sender.length--;
    if (sender.length > 0) this.#largest.moved(sender);
    else {
      this.#largest.remove(sender);
      this.#senders.delete(sender.id);
    }
    return true;
  }

  /** Whose turn it is among those who wait for what the worker can take and `allows` lets it; for `take`. */
  next(taker: Taker, allows: (ask: Ask) => boolean): Flow | undefined {
    const accepts = (kind: Kind) => fits(kind, taker) && allows(kind);
    // A worker with few models looks through them; one with many can take most of what comes first.
    if (taker.models.size >= this.#byModel.size) return this.#kinds.firstOf(accepts)?.flows.first;
    let best: Kind | undefined;
    const consider = (kinds: readonly Kind[] | undefined) => {
      for (const kind of kinds ?? []) {
        if ((best === undefined || turnOf(kind) < turnOf(best)) && accepts(kind)) best = kind;
      }
    };
    consider(this.#byModel.get(ANY_MODEL));
    for (const model of taker.models) consider(this.#byModel.get(model));
    return best?.flows.first;
  }

  /**
   * Takes out the earliest request, of the sender whose turn it is, that the worker can take.
   *
   * @param flow what `next` found for the same worker
   * @param now the present place in the count of arrivals and turns
   */
  take(flow: Flow, taker: Taker, allows: (ask: Ask) => boolean, now: number): CoreRequest | undefined {
    const { sender, turn } = flow;
    let earliest: CoreRequest | undefined;
    const served: Flow[] = [];
    for (const other of sender.flows.values()) {
      const request = other.first?.request;
      if (request === undefined || !fits(other.kind, taker) || !allows(other.kind)) continue;
      served.push(other);
      if (earliest === undefined || request.sequence < earliest.sequence) earliest = request;
    }
    if (earliest === undefined) return undefined;
    earliest.turn = turn;
    this.remove(earliest);
    for (const other of served) if (other.first !== undefined) this.#setTurn(other, now);
    return earliest;
  }

  /** The last of a sender's requests to arrive. */
  newestOf(sender: string): CoreRequest | undefined {
    let newest: CoreRequest | undefined;
    for (const { last } of this.#senders.get(sender)?.flows.values() ?? []) {
      if (last === undefined) continue;
      if (newest === undefined || last.request.sequence > newest.sequence) newest = last.request;
    }
    return newest;
  }

  #kind({ model, needs }: Ask): Kind {
    const name = model ?? ANY_MODEL;
    const known = this.#byModel.get(name);
    const found = known?.find((kind) => kind.needs === needs);
    if (found !== undefined) return found;
    const kind: Kind = { model, needs, flows: new Heap((a, b) => a.turn < b.turn), place: 0 };
    if (known === undefined) this.#byModel.set(name, [kind]);
    else known.push(kind);
    return kind;
  }

  #sender({ sender: id, sequence }: CoreRequest): Sender {
    const known = this.#senders.get(id);
    if (known !== undefined) return known;
    const sender: Sender = { id, flows: new Map(), since: sequence, length: 0, place: 0 };
    this.#senders.set(id, sender);
    this.#largest.add(sender);
    return sender;
  }

  #flow(sender: Sender, request: CoreRequest): Flow {
    const kind = this.#kind(request);
    const known = sender.flows.get(kind);
    if (known !== undefined) return known;
    const flow: Flow = { kind, sender, turn: request.turn, first: undefined, last: undefined, place: 0 };
    sender.flows.set(kind, flow);
    const isNew = kind.flows.first === undefined;
    kind.flows.add(flow);
    if (isNew) this.#kinds.add(kind);
    else this.#kinds.moved(kind);
    return flow;
  }

  #close(flow: Flow): void {
    const { kind, sender } = flow;
    sender.flows.delete(kind);
    kind.flows.remove(flow);
    if (kind.flows.first !== undefined) return this.#kinds.moved(kind);
    this.#kinds.remove(kind);
    const name = kind.model ?? ANY_MODEL;
    const left = this.#byModel.get(name)?.filter((other) => other !== kind) ?? [];
    if (left.length > 0) this.#byModel.set(name, left);
    else this.#byModel.delete(name);
  }

  #setTurn(flow: Flow, turn: number): void {
    flow.turn = turn;
    flow.kind.flows.moved(flow);
    this.#kinds.moved(flow.kind);
  }
}

function turnOf(kind: Kind): number {
  return kind.flows.first?.turn ?? Number.POSITIVE_INFINITY;
}

function fits({ model, needs }: Ask, taker: Taker): boolean {
  return (needs & ~taker.carries) === 0 && (model === undefined || taker.models.has(model));
}

/** Puts a request into its flow by first arrival: at the end, or among the first if it comes back. */
function link(waiting: Waiting): void {
  const { flow, request } = waiting;
  if (flow.last === undefined || flow.last.request.sequence < request.sequence) {
    waiting.before = flow.last;
    flow.last = waiting;
  } else {
    let after = flow.first;
    while (after !== undefined && after.request.sequence < request.sequence) after = after.after;
    waiting.after = after;
    waiting.before = after?.before;
    if (after !== undefined) after.before = waiting;
  }
  if (waiting.before === undefined) flow.first = waiting;
  else waiting.before.after = waiting;
}

function unlink({ flow, before, after }: Waiting): void {
  if (before === undefined) flow.first = after;
  else before.after = after;
  if (after === undefined) flow.last = before;
  else after.before = before;
}
