/** Waits for one item at a time from something that delivers when it likes. */
export class Inbox<T> {
  readonly #items: T[] = [];
  readonly #waiting: {
    accepts: (item: T) => boolean;
    resolve: (item: T) => void;
    reject: (error: Error) => void;
  }[] = [];
  #closed: Error | undefined;

  put(item: T): void {
    const at = this.#waiting.findIndex((waiter) => waiter.accepts(item));
    if (at < 0) this.#items.push(item);
    else this.#waiting.splice(at, 1)[0]?.resolve(item);
  }

  /** The first item that `accepts`; items before it stay for others. */
  next(accepts: (item: T) => boolean = () => true): Promise<T> {
    const at = this.#items.findIndex(accepts);
    if (at >= 0) return Promise.resolve(this.#items.splice(at, 1)[0] as T);
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    return new Promise((resolve, reject) => this.#waiting.push({ accepts, resolve, reject }));
  }

  /** Nothing more will come: whoever waits learns why. */
  close(reason: string): void {
    this.#closed ??= new Error(reason);
    for (const waiter of this.#waiting.splice(0)) waiter.reject(this.#closed);
  }

  get items(): readonly T[] {
    return this.#items;
  }
}
