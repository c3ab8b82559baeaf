import { expect, test } from "bun:test";
import { requestText } from "../../src/commands/request-text.ts";

const body = (text: string, more: object = {}) => ({
  encoding: "utf-8" as const,
  body: text,
  bytes: text.length,
  truncated: false,
  ...more,
});

test("One request is shown with its bodies, and nothing of foreign text moves the terminal", () => {
  const request = {
    id: "a",
    key: { id: "k", name: "ada\u001b[2J" },
    model: "m\nx\u202e",
    worker: null,
    status: 200,
  };
  const bodies = {
    request: body("one\r\ntwo\t\u001b[31m\u0007\u009b"),
    answer: body("AAEC", { encoding: "base64", bytes: 2_048, truncated: true }),
  };
  expect(requestText({ request, bodies })).toBe(`id      a
key     ada?[2J
model   m?x?
worker  -
status  200

request (16 B)
one
two\t?[31m??

answer (2 KiB, base64, only its beginning is kept)
AAEC
`);
});

test("One request is shown as far as it is kept", () => {
  const empty = body("");
  expect(requestText({ request: null, bodies: { request: empty, answer: empty } })).toBe(
    "Its record is not kept any more\n\nrequest (0 B)\n\nanswer (0 B)\n",
  );
});
