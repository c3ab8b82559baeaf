import type { CoreRequest } from "./request.ts";

/** Requests without a model wait under this key; no model name is empty. */
const ANY_MODEL = "";

/**
 * Waiting requests, in order of first arrival within each model. A worker that has room asks for the
 * earliest one that it can serve, so the order across models is that of arrival as well.
 */
export class RequestQueue {
  /** Lists sorted by `sequence`; an empty list is removed. */
  readonly #byModel = new Map<string, CoreRequest[]>();
  #length = 0;

  get length(): number {
    return this.#length;
  }

  add(request: CoreRequest): void {
    const key = request.model ?? ANY_MODEL;
    const list = this.#byModel.get(key);
    if (list === undefined) this.#byModel.set(key, [request]);
    else list.splice(place(list, request.sequence), 0, request);
    this.#length++;
  }

  remove(request: CoreRequest): boolean {
    const key = request.model ?? ANY_MODEL;
    const list = this.#byModel.get(key);
    if (list === undefined) return false;
    const at = place(list, request.sequence);
    if (list[at] !== request) return false;
    list.splice(at, 1);
    if (list.length === 0) this.#byModel.delete(key);
    this.#length--;
    return true;
  }

  /** The earliest request for one of `models`, or for any, that a link with `carries` can take. */
  earliest(
    models: ReadonlySet<string>,
    carries: number,
    allows: (request: CoreRequest) => boolean,
  ): CoreRequest | undefined {
    let best: CoreRequest | undefined;
    const consider = (list: CoreRequest[] | undefined) => {
      const found = list?.find((request) => (request.needs & ~carries) === 0 && allows(request));
      if (found !== undefined && (best === undefined || found.sequence < best.sequence)) best = found;
    };
    consider(this.#byModel.get(ANY_MODEL));
    // Walk whichever is shorter: a worker can have a thousand models, a queue as many lists.
    if (models.size < this.#byModel.size) {
      for (const model of models) consider(this.#byModel.get(model));
    } else {
      for (const [model, list] of this.#byModel) if (models.has(model)) consider(list);
    }
    return best;
  }

  /** All that wait, in no particular order; a copy, so that entries can be removed meanwhile. */
  all(): CoreRequest[] {
    return [...this.#byModel.values()].flat();
  }
}

/** Index of the first entry whose sequence is not below `sequence`. */
function place(list: readonly CoreRequest[], sequence: number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((list[middle]?.sequence ?? 0) < sequence) low = middle + 1;
    else high = middle;
  }
  return low;
}
