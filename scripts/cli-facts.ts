import type { CommandFacts } from "../src/commands/command.ts";
import { settingsOf } from "../src/commands/options.ts";

// What the pages about the command line say beside the tables of options.

/** Exit codes, as src/commands/failure.ts has them. */
export const EXITS: readonly [codes: string, meaning: string][] = [
  ["0", "Done; a check found nothing wrong, or a server ended after it had finished what ran"],
  ["1", "It could not be done, or a check found something; the message says what to do"],
  ["2", "The command line, the environment or the config file is wrong; nothing was done"],
  ["69", "Nobody can say whether there is an update, as the release address cannot be reached"],
  ["70", "A bug in modelrelay"],
  ["130, 143", "Ended at once by SIGINT (130) or SIGTERM (143)"],
];

export const SIGNALS: readonly [signal: string, meaning: string][] = [
  ["SIGTERM, SIGINT", "Finish what runs, for at most --drain-timeout, and end; a second one ends at once"],
  ["SIGHUP", "serve reads its config file and certificates again; a worker ends as with SIGTERM"],
  [
    "SIGUSR2",
    "serve hands its ports to a new process and finishes what runs, on Linux alone; it kills a worker",
  ],
];

/** How a command is written: `modelrelay db backup FILE [flags]`. */
export function synopsis({ name, options, rest }: CommandFacts): string {
  const operands = settingsOf(options)
    .filter(({ option }) => option.operand === true)
    .map(({ option, flag }) => ` ${option.hint ?? flag}`);
  return `modelrelay ${name}${operands.join("")} [flags]${rest === undefined ? "" : ` [-- ${rest}]`}`;
}
