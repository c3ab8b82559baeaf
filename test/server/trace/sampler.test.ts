import { describe, expect, test } from "bun:test";
import { createSampler, type SamplerName } from "../../../src/server/trace/sampler.ts";

const ID = "4bf92f3577b34da6a3ce929d0e0e4736";
const parent = (flags: number) => ({ traceId: ID, spanId: "00f067aa0ba902b7", flags });

describe("Sampler", () => {
  test.each<[SamplerName, boolean, boolean, boolean]>([
    // Without a parent, with one that is not recorded, with one that is.
    ["always_on", true, true, true],
    ["always_off", false, false, false],
    ["traceidratio", false, false, false],
    ["parentbased_always_on", true, false, true],
    ["parentbased_always_off", false, false, true],
    ["parentbased_traceidratio", false, false, true],
  ])("%s with a ratio of 0 decides as its name says", (name, root, unsampled, sampled) => {
    const keeps = createSampler(name, 0);
    expect([keeps(ID, undefined), keeps(ID, parent(2)), keeps(ID, parent(3))]).toEqual([
      root,
      unsampled,
      sampled,
    ]);
  });

  test("keeps the share of traces that it is told to, by the end of their ids", () => {
    const ids = Array.from({ length: 20_000 }, () => crypto.randomUUID().replaceAll("-", ""));
    const share = (ratio: number) => {
      const keeps = createSampler("traceidratio", ratio);
      return ids.filter((id) => keeps(id, undefined)).length / ids.length;
    };
    expect([share(0), share(1)]).toEqual([0, 1]);
    expect(share(0.25)).toBeCloseTo(0.25, 1);
    const [half, tenth] = [createSampler("traceidratio", 0.5), createSampler("traceidratio", 0.1)];
    // What one relay keeps a tenth of, another that keeps half keeps as well.
    expect(ids.filter((id) => tenth(id, undefined) && !half(id, undefined))).toEqual([]);
    expect(half(`${"f".repeat(19)}${"0".repeat(13)}`, undefined)).toBe(false);
    expect(half(`${"0".repeat(19)}${"f".repeat(13)}`, undefined)).toBe(true);
  });
});
