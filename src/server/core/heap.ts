/**
 * A binary heap whose items know their place in it, so that one can be removed or moved in O(log n).
 * An item is in one heap at a time.
 */
export class Heap<T extends { place: number }> {
  readonly #items: T[] = [];
  readonly #before: (a: T, b: T) => boolean;

  constructor(before: (a: T, b: T) => boolean) {
    this.#before = before;
  }

  get first(): T | undefined {
    return this.#items[0];
  }

  /** All items, in no order. */
  get items(): readonly T[] {
    return this.#items;
  }

  add(item: T): void {
    this.#items.push(item);
    this.#rise(item, this.#items.length - 1);
  }

  remove(item: T): void {
    const last = this.#items.pop();
    if (last === undefined || last === item) return;
    last.place = item.place;
    this.#items[last.place] = last;
    this.moved(last);
  }

  /** Puts an item in its new place after what orders it has changed. */
  moved(item: T): void {
    this.#rise(item, item.place);
    this.#sink(item, item.place);
  }

  /** The first of those that `accepts` takes; looks at few if it takes the first ones. */
  firstOf(accepts: (item: T) => boolean): T | undefined {
    const top = this.#items[0];
    if (top === undefined || accepts(top)) return top;
    let best: T | undefined;
    const open = [1, 2];
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      const item = this.#items[at];
      // What lies below an item comes after it.
      if (item === undefined || (best !== undefined && !this.#before(item, best))) continue;
      if (accepts(item)) best = item;
      else open.push(2 * at + 1, 2 * at + 2);
    }
    return best;
  }

  #rise(item: T, from: number): void {
    const items = this.#items;
    let at = from;
    while (at > 0) {
      const above = (at - 1) >>> 1;
      const parent = items[above];
      if (parent === undefined || !this.#before(item, parent)) break;
      items[at] = parent;
      parent.place = at;
      at = above;
    }
    items[at] = item;
    item.place = at;
  }

  #sink(item: T, from: number): void {
    const items = this.#items;
    let at = from;
    for (;;) {
      let below = 2 * at + 1;
      let child = items[below];
      const other = items[below + 1];
      if (child !== undefined && other !== undefined && this.#before(other, child)) {
        child = other;
        below++;
      }
      if (child === undefined || !this.#before(child, item)) break;
      items[at] = child;
      child.place = at;
      at = below;
    }
    items[at] = item;
    item.place = at;
  }
}
