import { describe, expect, test } from "bun:test";
import { statusLines, written, type StyledLine } from "../../src/commands/status-text.ts";
import { certificate, view, worker } from "./views.ts";

const ROOM = { columns: 80, rows: Infinity };
const textOf = (lines: readonly StyledLine[]): string[] => lines.map(({ text }) => text);
const RATES = {
  requests_per_sec: 0.5,
  failed: 1,
  prompt_tokens_per_sec: 1_204.4,
  completion_tokens_per_sec: 9.25,
};

describe("The picture of a relay", () => {
  test("without workers says so, and shows no empty tables", () => {
    expect(textOf(statusLines(view({ warnings: ["no worker is connected"] }), ROOM))).toEqual([
      "relay        http://127.0.0.1:8080  1.2.3, ready, up 3 h 5 min",
      "requests     0 running, 0 waiting, 0 B of bodies held",
      "warning      no worker is connected",
    ]);
  });

  test("shows workers with what they do, models with their rates, and certificates with their days", () => {
    const lines = statusLines(
      view({
        uptime_secs: 0,
        requests_in_flight: 5,
        queue_depth: 7,
        queued_by_priority: { high: 2, normal: 4, low: 1 },
        bytes_held: 2_048,
        rates: RATES,
        workers: [
          worker("free"),
          worker("busy", { load: 2 }),
          worker("full", { load: 4, connected_secs: 0 }),
          worker("leaving", { load: 1, is_draining: true }),
          worker("resting", { is_resting: true }),
          worker("away", { is_suspended: true, is_draining: true, connected_secs: null }),
          worker("empty", { models: [] }),
        ],
        models: [
          { name: "gone", workers: 0, rates: { ...RATES, failed: 3 } },
          { name: "llama3.1:8b", workers: 6, rates: RATES },
        ],
        certificates: [
          certificate(),
          certificate({ subject: "soon.example.com", not_after: "2026-11-26T20:10:00.000Z" }),
          certificate({ subject: "new.example.com", not_after: null, ordering: true }),
          certificate({
            subject: "bad.example.com",
            next_try_at: "2026-11-21T23:10:00.000Z",
            last_error: { message: "the CA cannot reach port 80" },
          }),
          certificate({ subject: "own.example.com", renew_at: null }),
        ],
      }),
      { columns: 120, rows: Infinity },
    );
    expect(textOf(lines)).toEqual([
      "relay        http://127.0.0.1:8080  1.2.3, ready, up 0 s",
      "requests     5 running, 7 waiting (2 high, 1 low), 2 KiB of bodies held",
      "last minute  0.5 requests/s, 1 failed; 1204 tokens/s of prompts, 9.25 of answers",
      "",
      "WORKER   STATE    BUSY  CONNECTED  MODELS",
      "free     free      0/4     62 min  llama3.1:8b".replace("   1 h", "  1 h"),
      "busy     busy      2/4     62 min  llama3.1:8b",
      "full     full      4/4        0 s  llama3.1:8b",
      "leaving  leaving   1/4     62 min  llama3.1:8b",
      "resting  resting   0/4     62 min  llama3.1:8b",
      "away     away      0/4          -  llama3.1:8b",
      "empty    free      0/4     62 min  none",
      "",
      "MODEL        WORKERS  REQUESTS/S  FAILED  PROMPT/S  ANSWER/S",
      "gone               0         0.5       3      1204      9.25",
      "llama3.1:8b        6         0.5       1      1204      9.25",
      "",
      "CERTIFICATE        VALID UNTIL       DAYS  RENEWAL",
      "relay.example.com  2026-12-24 20:10    33  2026-11-30 08:00",
      "soon.example.com   2026-11-26 20:10     5  2026-11-30 08:00",
      "new.example.com    none yet                being ordered",
      "bad.example.com    2026-12-24 20:10    33  failed, next try 2026-11-21 23:10: the CA cannot reach port 80",
      "own.example.com    2026-12-24 20:10    33  not by this relay",
    ]);
    const troubles = lines.filter(({ style }) => style === "trouble").map(({ text }) => text.split(" ")[0]);
    expect(troubles).toEqual([
      "leaving",
      "resting",
      "away",
      "empty",
      "gone",
      "soon.example.com",
      "new.example.com",
      "bad.example.com",
    ]);
  });

  test("shows what everybody is told without times and rates", () => {
    const one = worker("gpu");
    delete one.connected_secs;
    const seen = view({
      workers: [one],
      models: [{ name: "llama3.1:8b", workers: 1, rates: null }],
      notes: ["rates are told to whoever shows the admin token: --admin-token-file"],
    });
    expect(textOf(statusLines(seen, ROOM)).slice(2)).toEqual([
      "note         rates are told to whoever shows the admin token: --admin-token-file",
      "",
      "WORKER  STATE  BUSY  MODELS",
      "gpu     free    0/4  llama3.1:8b",
      "",
      "MODEL        WORKERS",
      "llama3.1:8b        1",
    ]);
  });

  test("says why a relay is not ready", () => {
    const seen = view({ ready: false, reasons: ["the relay is shutting down"] });
    expect(statusLines(seen, ROOM).slice(0, 3)).toEqual([
      { text: "relay        http://127.0.0.1:8080  1.2.3, not ready, up 3 h 5 min" },
      { text: "requests     0 running, 0 waiting, 0 B of bodies held" },
      { text: "not ready    the relay is shutting down", style: "trouble" },
    ]);
  });

  const many = view({
    warnings: ["a long warning ".repeat(20)],
    workers: Array.from({ length: 50 }, (_, at) =>
      worker(`gpu-box-with-a-long-name-${at}.rack-of-the-second-data-center.example.internal`, {
        models: ["qwen2.5-coder:32b-instruct-q4_K_M", "llama3.1:70b-instruct", "nomic-embed-text"],
      }),
    ),
    models: Array.from({ length: 9 }, (_, at) => ({
      name: `${"model".repeat(20)}-${at}`,
      workers: 50,
      rates: RATES,
    })),
    certificates: [
      certificate({ last_error: { message: "the CA cannot reach port 80 of this machine ".repeat(5) } }),
    ],
  });

  /** Lines before the first table. */
  const head = (lines: readonly StyledLine[]): number => textOf(lines).indexOf("");

  test("says all of what is wrong, in as many lines as it takes", () => {
    const seen = view({ warnings: ["the certificate of relay.example.com could not be renewed: no answer"] });
    expect(textOf(statusLines(seen, { columns: 50, rows: Infinity }))).toEqual([
      "relay        http://127.0.0.1:8080  1.2.3, ready,",
      "             up 3 h 5 min",
      "requests     0 running, 0 waiting, 0 B of bodies",
      "             held",
      "warning      the certificate of relay.example.com",
      "             could not be renewed: no answer",
    ]);
  });

  for (const columns of [40, 80, 120]) {
    test(`stays within ${columns} columns, whatever names it has to show`, () => {
      const lines = statusLines(many, { columns, rows: Infinity });
      expect(Math.max(...lines.map(({ text }) => Bun.stringWidth(text)))).toBeLessThanOrEqual(columns);
      expect(lines.length).toBe(head(lines) + 2 + 50 + 2 + 9 + 2 + 1);
    });
  }

  test("cuts a long reason at its end", () => {
    const line = textOf(statusLines(many, { columns: 100, rows: Infinity })).at(-1);
    expect(line).toStartWith(
      "relay.example.com  2026-12-24 20:10    33  failed, next try at the next start: the CA",
    );
    expect(line).toEndWith("…");
  });

  test("is not cut where nobody asks for it", () => {
    const [longest] = textOf(statusLines(many, { columns: Infinity, rows: Infinity })).filter((line) =>
      line.includes("gpu-box-with-a-long-name-7."),
    );
    expect(longest).toEndWith("qwen2.5-coder:32b-instruct-q4_K_M, llama3.1:70b-instruct, nomic-embed-text");
  });

  test("fits a screen by leaving rows of the longest tables out, and says how many", () => {
    for (const rows of [24, 30, 60]) {
      const lines = statusLines(many, { columns: 100, rows });
      expect(lines.length).toBe(rows);
      const shown = lines.filter(({ text }) => text.startsWith("gpu-box")).length;
      expect(textOf(lines)).toContain(`… and ${50 - shown} more workers`);
      expect(lines.at(-1)?.text).toStartWith("relay.example.com  2026-12-24 20:10");
    }
    // Some of each is shown whatever the screen.
    expect(
      statusLines(many, { columns: 100, rows: 5 }).filter(({ text }) => text.startsWith("gpu-box")).length,
    ).toBe(3);
    const small = view({ workers: [worker("a"), worker("b")] });
    expect(statusLines(small, { columns: 100, rows: 24 }).length).toBe(6);
  });

  test("needs no colour to be understood", () => {
    const line: StyledLine = { text: "warning", style: "trouble" };
    expect([written(line, false), written(line, true), written({ text: "x" }, true)]).toEqual([
      "warning",
      "\u001b[33mwarning\u001b[0m",
      "x",
    ]);
  });

  test("lets nothing that a relay says move the terminal", () => {
    const hostile = "a\u001b]0;x\u0007\n\u202eb";
    const seen = view({
      version: hostile,
      warnings: [hostile],
      notes: [hostile],
      workers: [worker(hostile, { models: [hostile] })],
      models: [{ name: hostile, workers: 1, rates: null }],
      certificates: [certificate({ subject: hostile, last_error: { message: hostile } })],
    });
    // eslint-disable-next-line no-control-regex
    expect(textOf(statusLines(seen, ROOM)).join("")).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
  });
});
