import { OTHER } from "./labels.ts";

/** Counts by a name, of which there can be only so many: the rest is counted together. */
export class Counts {
  readonly #counts = new Map<string, number>();
  readonly #most: number;

  constructor(most: number) {
    this.#most = most;
  }

  add(name: string): void {
    const known = this.#counts.get(name);
    if (known === undefined && this.#counts.size >= this.#most && name !== OTHER) return this.add(OTHER);
    this.#counts.set(name, (known ?? 0) + 1);
  }

  entries(): Iterable<[string, number]> {
    return this.#counts;
  }
}
