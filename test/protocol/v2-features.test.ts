import { expect, test } from "bun:test";
import { FEATURES } from "../../src/protocol/messages.ts";
import { featureFields } from "../../src/protocol/v2.ts";

test("A v2 end names what not every peer can do, and not what belongs to the version", () => {
  expect([
    featureFields(false, FEATURES),
    featureFields(true, FEATURES),
    featureFields(true, ["method", "parts"]),
    featureFields(false, ["head"]),
    featureFields(false, []),
  ]).toEqual([{ features: ["move"] }, { features: ["deflate", "move"] }, { features: ["deflate"] }, {}, {}]);
});
