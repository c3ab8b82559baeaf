import { describe, expect, test } from "bun:test";
import { namedModels, scanBody } from "../../src/protocol/named-models.ts";

function named(json: string): (string | undefined)[] {
  return namedModels(new TextEncoder().encode(json));
}

describe("Models named in a body", () => {
  test.each([
    ['{"model":"m"}', ["m"]],
    ['\ufeff \r\n\t{ "model" : "m" }', ["m"]],
    ['{"a":{"model":"x"},"model":"m","b":[{"model":"y"}]}', ["m"]],
    ['{"a":"model","b":"model","c":["model","x"],"d":"\\"model\\":\\"x\\""}', []],
    ['{"a":"\\\\","model":"\\u00e9\\""}', ['é"']],
    ['{"modem":"x","modelo":"x","m\tdel":"x","\\nodel":"x","model":"a\tb"}', [undefined]],
    ['[{"model":"m"}]', []],
    ['"model"', []],
    ["--B\r\n", []],
    ["", []],
  ])("are found in %j", (json, models) => expect(named(json)).toEqual(models));

  test.each([
    ['{"model":"m","model":"x"}', ["m", "x"]],
    ['{"model":"x","stream":true,"MODEL":"m"}', ["x", "m"]],
    ['{"model":"m","mod\\u0065l":"x"}', ["m", "x"]],
    ['{"model":{"model":"x"},"model":"m"}', [undefined, "m"]],
    ['{"model":"m","model":[1,"x"]}', ["m", undefined]],
    ['{"model":5,"model":"m"}', [undefined, "m"]],
    ['{"model":"m","Model":null}', ["m", undefined]],
  ])("are all found in %j, of which readers take different ones", (json, models) => {
    expect(named(json)).toEqual(models);
  });

  test("are not looked for in wide characters, which some readers take for JSON all the same", () => {
    for (const text of ['{"model":"x"}', '\ufeff{"model":"x"}', ' \n{"model":"x"}']) {
      const little = Buffer.from(text, "utf16le");
      expect(namedModels(little)).toEqual([undefined]);
      expect(namedModels(Buffer.from(little).swap16())).toEqual([undefined]);
    }
    expect(namedModels(Buffer.from("RIFF\u0000{\u0000"))).toEqual([]);
  });

  test.each(['{"model":"m"', '{"model":"m', '{"model":', '{"model"', "{", '{"model":"m"}}', '{"a":1,,}'])(
    "in a text that is cut off or wrong, as %j, do no harm",
    (json) => expect(named(json).length).toBeLessThan(2),
  );

  test("are found behind strings of any length", () => {
    for (let length = 0; length < 40; length++) {
      const text = "x".repeat(length);
      for (const value of [text, `${text}\\"`, `\\"${text}`, `${text}\\\\`])
        expect(named(`{"a":"${value}","model":"${value}"}`)).toEqual([JSON.parse(`"${value}"`)]);
    }
  });

  test("are told from the one that was named before", () => {
    const one = (bytes: Uint8Array) => namedModels(bytes)[0];
    const bodies: [Uint8Array, string | undefined][] = [
      [Buffer.from('{"model":"a\\\\b"}'), "a\\b"],
      [Buffer.from('{"model":"a\\b"}'), "a\b"],
      [Buffer.from('{"model":"é"}'), "é"],
      [Buffer.from('{"model":"é"}', "latin1"), "\ufffd"],
      [Buffer.from('{"model":"ab"}'), "ab"],
      [Buffer.from('{"model":"ac"}'), "ac"],
      [Buffer.from('{"model":"a"}'), "a"],
      [Buffer.from('{"model":"a\tb"}'), undefined],
      [Buffer.from('{"model":""}'), ""],
    ];
    for (const [body, model] of bodies)
      for (const [other] of bodies) {
        one(other);
        expect([one(body), one(body)]).toEqual([model, model]);
      }
  });

  test("are found in deep and long texts without delay of its own making", () => {
    expect(named(`{"a":${"[".repeat(1_000_000)}${"]".repeat(1_000_000)},"model":"m"}`)).toEqual(["m"]);
    expect(named(`{"a":"${'\\"'.repeat(1_000_000)}","model":"m"}`)).toEqual(["m"]);
    expect(named(`{"a":"${"\\\\".repeat(1_000_000)}","model":"m"}`)).toEqual(["m"]);
  });
});

describe("A scan of a body", () => {
  const scan = (text: string) => scanBody(new TextEncoder().encode(text));

  test("finds whether a stream is asked for as a parser would", () => {
    const texts = [
      '{"model":"m","stream":true}',
      '{"stream" : false , "model":"m"}',
      '{"stream":true,"stream":false,"model":"m"}',
      '{"stream":true,"stream":"yes","model":"m"}',
      '{"stream":null,"model":"m"}',
      '{"stream":1,"model":"m"}',
      '{"nested":{"stream":true},"model":"m"}',
      '{"list":[{"stream":true}],"model":"m"}',
      '{"text":"\\"stream\\":true","model":"m"}',
      '{"str\\u0065am":true,"model":"m"}',
      '{"Stream":true,"model":"m"}',
      '{"other":true,"stream":[false],"model":"m"}',
      '{"stream":{"stream":true},"model":"m"}',
      '{"model":"m"}',
    ];
    for (const text of texts) {
      const { stream } = JSON.parse(text) as { stream?: unknown };
      expect({ text, ...scan(text) }).toEqual({
        text,
        models: ["m"],
        stream: typeof stream === "boolean" ? stream : undefined,
        whole: true,
      });
    }
  });

  test("sees that a body is not whole, or that something follows it", () => {
    for (const text of [
      '{"model":"m"',
      '{"model":"m","text":"',
      '{"model":"m"} {}',
      '{"model":"m"}x',
      "[]",
      "",
    ])
      expect({ text, whole: scan(text).whole }).toEqual({ text, whole: false });
    expect(scan(' {"model":"m"}\n').whole).toBe(true);
  });
});
