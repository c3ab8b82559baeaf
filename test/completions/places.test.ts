import { describe, expect, test } from "bun:test";
import { ALL_COMMANDS } from "../../src/commands/all-commands.ts";
import { settingsOf } from "../../src/commands/options.ts";
import { PLACES } from "./shells.ts";

const at = (words: string) => PLACES.find((place) => place.words === words);
const flagAt = (words: string, name: string) => at(words)?.flags.find((flag) => flag.name === name);

describe("Completion places", () => {
  test("every command is one, and can be got to word by word, with help before it too", () => {
    for (const { name } of ALL_COMMANDS) {
      const words = name.split(" ");
      for (const [index, word] of words.entries()) {
        const before = words.slice(0, index).join(" ");
        expect(at(before)?.members.map((member) => member.name)).toContain(word);
        expect(at(`help ${before}`.trim())?.members.map((member) => member.name)).toContain(word);
      }
      expect(at(name)?.members).toEqual([]);
    }
  });

  test("no member is without help, and none comes twice", () => {
    for (const { members } of PLACES) {
      expect(members.filter(({ help }) => help === "")).toEqual([]);
      expect(new Set(members.map(({ name }) => name)).size).toBe(members.length);
    }
  });

  test("every setting of every command is there, as flag or as operand", () => {
    for (const command of ALL_COMMANDS) {
      const place = at(command.name);
      const settings = settingsOf(command.options);
      const operands = settings.filter(({ option }) => option.operand === true).length;
      expect(place?.operands.length).toBe(operands);
      const names = place?.flags.map(({ name }) => name);
      for (const { flag, option } of settings)
        if (option.operand !== true) expect(names).toContain(`--${flag}`);
    }
  });

  test("a value is a name of a list, a file, a folder, or only known to who types it", () => {
    expect(flagAt("serve", "--log-format")?.takes).toEqual({ kind: "names", names: ["pretty", "json"] });
    expect(flagAt("serve", "--config")?.takes).toEqual({ kind: "file" });
    expect(flagAt("serve", "--data-dir")?.takes).toEqual({ kind: "folder" });
    expect(flagAt("serve", "--listen")?.takes).toEqual({ kind: "text" });
    expect(flagAt("serve", "--tls")?.takes).toBeUndefined();
    expect(at("db backup")?.operands).toEqual([{ hint: "FILE", takes: { kind: "file" } }]);
  });

  test("a secret is never offered, its file is, and each rules out the other", () => {
    expect(flagAt("worker", "--worker-secret")).toMatchObject({
      takes: { kind: "text" },
      excludes: ["--worker-secret-file"],
    });
    expect(flagAt("worker", "--worker-secret-file")).toMatchObject({
      takes: { kind: "file" },
      excludes: ["--worker-secret"],
    });
  });

  test("a switch has its opposite, and a list may be repeated", () => {
    expect(flagAt("serve", "--no-tls")).toMatchObject({ takes: undefined, excludes: ["--tls"] });
    expect(flagAt("serve", "--domain")?.isRepeatable).toBe(true);
    expect(flagAt("serve", "--listen")?.isRepeatable).toBe(false);
  });
});
