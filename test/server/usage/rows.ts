import type { UsageRow } from "../../../src/server/usage/usage-store.ts";

/** A row of a request, of which the tests name what they are about. */
export function row(id: string, fields: Partial<UsageRow> = {}): UsageRow {
  return {
    id,
    at: 1_800_000_000_000,
    keyId: undefined,
    keyName: undefined,
    model: "m",
    servedModel: undefined,
    worker: "box",
    path: "/v1/chat/completions",
    status: 200,
    outcome: "complete",
    reason: "",
    queueMs: 1,
    firstByteMs: 5,
    totalMs: 9,
    promptTokens: 20,
    completionTokens: 7,
    cachedTokens: 4,
    estimated: false,
    bytesIn: 100,
    bytesOut: 200,
    ...fields,
  };
}

export function rows(count: number, prefix = "r"): UsageRow[] {
  return Array.from({ length: count }, (_, n) => row(`${prefix}${n}`));
}

/** Lets what runs go on, turn by turn, until it has come to this; time does not pass. */
export async function turnsUntil(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 20_000; turn++) {
    if (condition()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error(`It did not come to ${condition.toString()}`);
}

/** What a stream's reader got, as text. */
export function textOf({ value }: { value?: Uint8Array }): string {
  return new TextDecoder().decode(value);
}
