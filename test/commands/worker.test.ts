import { expect, test } from "bun:test";
import { checkLine } from "../../src/commands/check-line.ts";

test("a check prints its verdict, its target and what to do", () => {
  const lines = [
    checkLine({
      step: "relay reachable",
      target: "relay.example.com:443",
      ok: true,
      details: "answers in 12 ms",
    }),
    checkLine({
      step: "backend up",
      target: "http://127.0.0.1:8000",
      ok: false,
      details: "connection refused",
      action: "Start the inference server",
    }),
    checkLine({ step: "models found", target: "http://127.0.0.1:8000", ok: undefined, details: "not tried" }),
  ];
  expect(lines.join("")).toBe(
    "ok    relay reachable      relay.example.com:443: answers in 12 ms\n" +
      "FAIL  backend up           http://127.0.0.1:8000: connection refused\n" +
      "      → Start the inference server\n" +
      "skip  models found         http://127.0.0.1:8000: not tried\n",
  );
});
