import { describe, expect, test } from "bun:test";
import { askForUsage, mustBeAsked } from "../../../src/server/usage/ask-usage.ts";

const bytesOf = (text: string) => new Uint8Array(Buffer.from(text));
const ASKS = '"stream_options":{"include_usage":true}';

/** What becomes of a body; `undefined` where it is left as it is. */
function asked(text: string): string | undefined {
  const asking = askForUsage(bytesOf(text));
  if (asking === undefined) return undefined;
  expect(Buffer.from(asking.original()).toString()).toBe(text);
  return Buffer.from(asking.body).toString();
}

const image = "A".repeat(3_000_000);

const CHANGED: [name: string, body: string, asking: string][] = [
  ["nothing is said", '{"model":"m","stream":true}', `{${ASKS},"model":"m","stream":true}`],
  ["white space is between", ' \n{ "model" : "m" }\n ', ` \n{${ASKS}, "model" : "m" }\n `],
  ["the object is empty", "{ }", `{${ASKS} }`],
  ["a mark is before it", '\ufeff{"a":1}', `\ufeff{${ASKS},"a":1}`],
  ["it is null", '{"stream_options":null,"a":1}', `{${ASKS},"a":1}`],
  ["it is empty", '{"stream_options":{ },"a":1}', '{"stream_options":{"include_usage":true },"a":1}'],
  [
    "it says something else",
    '{"stream_options": {"include_obfuscation":false}}',
    '{"stream_options": {"include_usage":true,"include_obfuscation":false}}',
  ],
  [
    "it says no",
    '{"stream_options":{"include_usage" : false , "x":1}}',
    '{"stream_options":{"include_usage" : true , "x":1}}',
  ],
  ["it says null", '{"stream_options":{"include_usage":null}}', `{${ASKS}}`],
  [
    "its name is escaped",
    '{"stream\\u005foptions":{"include\\u005fusage":false}}',
    '{"stream\\u005foptions":{"include\\u005fusage":true}}',
  ],
  [
    "the names stand elsewhere",
    '{"tools":[{"stream_options":{"include_usage":true}}],"x":{"include_usage":true},"y":"stream_options"}',
    `{${ASKS},"tools":[{"stream_options":{"include_usage":true}}],"x":{"include_usage":true},"y":"stream_options"}`,
  ],
  [
    "a string holds brackets and quotes",
    '{"messages":[{"content":"}]\\\\\\"{,stream_options"}],"n":-1.5e3}',
    `{${ASKS},"messages":[{"content":"}]\\\\\\"{,stream_options"}],"n":-1.5e3}`,
  ],
  ["it is large", `{"image":"${image}"}`, `{${ASKS},"image":"${image}"}`],
];

const LEFT: [name: string, body: string][] = [
  ["asks by itself", `{"model":"m",${ASKS}}`],
  ["names it twice", `{"stream_options":null,${ASKS}}`],
  ["names it twice, the other way round", `{${ASKS},"stream_options":null}`],
  [
    "names its member twice, the other way round",
    '{"stream_options":{"include_usage":true,"include_usage":false}}',
  ],
  ["names it in another case", '{"Stream_Options":{"include_usage":false}}'],
  ["names it in two cases", '{"stream_options":null,"STREAM_OPTIONS":null}'],
  ["names its member twice", '{"stream_options":{"include_usage":false,"include_usage":true}}'],
  ["has something else there", '{"stream_options":"yes"}'],
  ["has a list there", '{"stream_options":[]}'],
  ["has something else for its member", '{"stream_options":{"include_usage":1}}'],
  ["is no object", '[{"model":"m"}]'],
  ["is not whole", '{"model":"m"'],
  ["is not whole inside", '{"model":{"a":1,"b"}}x'.slice(0, 12)],
  ["is nothing", ""],
  ["is text in wide characters", Buffer.from('{"model":"m"}', "utf16le").toString("latin1")],
];

describe("Asking for usage", () => {
  for (const [name, body, asking] of CHANGED) {
    test(`changes the body by no other byte where ${name}`, () => {
      expect(asked(body) === asking).toBe(true);
      if (name !== "a mark is before it") expect(() => JSON.parse(asking)).not.toThrow();
    });
  }

  for (const [name, body] of LEFT) {
    test(`leaves a body that ${name}`, () => {
      expect(asked(body)).toBeUndefined();
    });
  }

  test("is for OpenAI's streams of chat and completions alone", () => {
    expect(mustBeAsked("POST", "/v1/chat/completions")).toBe(true);
    expect(mustBeAsked("POST", "/v1/completions")).toBe(true);
    expect(mustBeAsked("GET", "/v1/chat/completions")).toBe(false);
    for (const path of [
      "/v1/responses",
      "/v1/messages",
      "/v1/embeddings",
      "/api/chat",
      "/v1/chat/completions/x",
    ])
      expect(mustBeAsked("POST", path)).toBe(false);
  });
});
