import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { FAULTS, STATES, wordsOf, type Fault, type FaultName } from "./matrix-table.ts";
import type { Stage } from "./matrix-stage.ts";

/** A fault that has come over requests in each state. */
export interface Played {
  stage: Stage;
  /** What must hold once every client has its outcome. */
  afterwards(): Promise<void>;
  dispose(): Promise<void>;
}

const TIMEOUT_MS = 30_000;

/** Tests of one row of the matrix; `play` brings the requests on their way and the fault over them. */
export function testRow(name: FaultName, play: () => Promise<Played>): void {
  const { title, cells }: Fault = FAULTS[name];
  describe(title, () => {
    let played: Promise<Played>;

    beforeAll(() => {
      played = play();
      // Each test says so.
      played.catch(() => {});
    });

    afterAll(async () => {
      await (await played).dispose();
    });

    for (const state of STATES) {
      test(
        `A request in the state "${state}": ${wordsOf(cells[state])}`,
        async () => {
          expect(await (await played).stage.outcome(state)).toEqual(cells[state]);
        },
        TIMEOUT_MS,
      );
    }

    test(
      "Nothing is left of it, and the next request is served",
      async () => {
        const row = await played;
        await row.afterwards();
        const runs = STATES.map((state) => [state, row.stage.runs(state)]);
        expect(runs).toEqual(STATES.map((state) => [state, cells[state].runs]));
      },
      TIMEOUT_MS,
    );
  });
}
