import type { BodyStore, KeptBodies } from "../../src/server/bodies/body-store.ts";

/** Bodies in memory, which can be made to fail. */
export class MemoryBodyStore implements BodyStore {
  readonly rows = new Map<string, KeptBodies>();
  /** Sizes of the batches that came, taken or not. */
  readonly batches: number[] = [];
  /** Called before each batch is taken; what it throws or waits for, the caller gets. */
  before: () => void | Promise<void> = () => {};

  async insertBodies(bodies: readonly KeptBodies[]): Promise<void> {
    this.batches.push(bodies.length);
    await this.before();
    for (const each of bodies) if (!this.rows.has(each.id)) this.rows.set(each.id, each);
  }

  async findBodies(id: string): Promise<KeptBodies | undefined> {
    return this.rows.get(id);
  }

  async removeBodies(before: number): Promise<{ removed: number; more: boolean }> {
    const old = [...this.rows.values()].filter(({ at }) => at < before);
    for (const { id } of old) this.rows.delete(id);
    return { removed: old.length, more: false };
  }
}
