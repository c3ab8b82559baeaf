import { UsageError } from "../base/errors.ts";
import type { Given, Setting } from "./options.ts";
import { shown, shownName, unknownName } from "./wording.ts";

/** Whether the help is asked for, whatever else is on the command line. */
export function wantsHelp(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  return (end < 0 ? args : args.slice(0, end)).some((arg) => arg === "--help" || arg === "-h");
}

interface Flag {
  setting: Setting;
  /** `--no-NAME`. */
  negated: boolean;
}

function flagsOf(settings: readonly Setting[]): Map<string, Flag> {
  const flags = new Map<string, Flag>();
  for (const setting of settings) {
    flags.set(`--${setting.flag}`, { setting, negated: false });
    if (setting.option.kind === "switch") flags.set(`--no-${setting.flag}`, { setting, negated: true });
  }
  return flags;
}

function strayWord(
  word: string,
  command: string,
  secretFlag: string | undefined,
  operands: readonly Setting[],
): UsageError {
  // What follows a secret is likely the rest of it: a passphrase that the shell took apart.
  const named = secretFlag === undefined ? shown(word) : `the word after the value of ${secretFlag}`;
  const quotes = secretFlag === undefined ? "" : "; a value with spaces needs quotes";
  const takes = [...operands.map(({ option, flag }) => option.hint ?? flag), "flags"].join(", ");
  return new UsageError(`Cannot use ${named}: "modelrelay ${command}" takes only ${takes}${quotes}`, {
    action: `See all with: modelrelay help ${command}`,
  });
}

/**
 * Reads the command line of one command, strictly: what is unknown, repeated, incomplete or left over
 * is refused, since a setting that is silently dropped shows only much later.
 *
 * @throws {UsageError} naming the first mistake; never the value of a secret
 */
export function readArguments(
  args: readonly string[],
  settings: readonly Setting[],
  command: string,
): Map<Setting, Given> {
  const flags = flagsOf(settings);
  const given = new Map<Setting, Given>();
  const operands = settings.filter(({ option }) => option.operand === true);
  let secretFlag: string | undefined;
  for (let index = 0; index < args.length; index++) {
    const arg = args[index] ?? "";
    if (!arg.startsWith("-") || arg === "-") {
      const operand = operands.find((setting) => !given.has(setting));
      if (operand === undefined) throw strayWord(arg, command, secretFlag, operands);
      given.set(operand, { text: arg, origin: `argument ${operand.option.hint ?? operand.flag}` });
      secretFlag = undefined;
      continue;
    }
    if (arg === "--") {
      const word = args[index + 1];
      if (word !== undefined) throw strayWord(word, command, secretFlag, operands);
      break;
    }
    const equals = arg.indexOf("=");
    const name = equals < 0 ? arg : arg.slice(0, equals);
    const flag = flags.get(name);
    if (flag === undefined) {
      const problem = `Cannot use flag ${shownName(name)}: "modelrelay ${command}" has no such flag`;
      throw unknownName(
        problem,
        `--${name.replace(/^-+/, "")}`,
        [...flags.keys(), "--help"],
        `modelrelay help ${command}`,
      );
    }
    const { setting, negated } = flag;
    const { kind, hint = "VALUE", secret } = setting.option;
    let text = equals < 0 ? undefined : arg.slice(equals + 1);
    if (kind === "switch") {
      if (negated && text !== undefined) {
        throw new UsageError(`Cannot use ${name} with a value`, {
          action: `Write ${name}, or --${setting.flag}=false`,
        });
      }
      text ??= negated ? "false" : "true";
    } else if (text === undefined) {
      const next = args[index + 1];
      if (next !== undefined && (!next.startsWith("-") || next === "-")) {
        text = next;
        index++;
      }
    }
    if (text === undefined || text === "") {
      const wanted = setting.isFileOfSecret ? "FILE" : hint;
      throw new UsageError(`Cannot use ${name}: its value is missing`, {
        action: `Write ${name} ${wanted}, or ${name}=${wanted} if the value begins with "-"`,
      });
    }
    const earlier = given.get(setting);
    if (earlier !== undefined && kind !== "list") {
      throw new UsageError(`Cannot use ${name}: --${setting.flag} is given more than once`, {
        action: "Give it once",
      });
    }
    given.set(setting, {
      text: earlier === undefined ? text : `${earlier.text},${text}`,
      origin: `flag --${setting.flag}`,
    });
    secretFlag = secret === true && !setting.isFileOfSecret ? `--${setting.flag}` : undefined;
  }
  return given;
}
