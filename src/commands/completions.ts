import { UsageError } from "../base/errors.ts";
import { ALL_COMMANDS, GROUPS } from "./all-commands.ts";
import { commandNode, type Command } from "./command.ts";
import { bashCompletion } from "./completion-bash.ts";
import { fishCompletion } from "./completion-fish.ts";
import { completionPlaces, type Place } from "./completion-places.ts";
import { powershellCompletion } from "./completion-powershell.ts";
import { zshCompletion } from "./completion-zsh.ts";
import { completionsFacts, type completionsOptions, SHELLS } from "./completions-options.ts";

const WRITERS: Readonly<Record<(typeof SHELLS)[number], (places: readonly Place[]) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
  powershell: powershellCompletion,
};

const completionsCommand: Command<typeof completionsOptions> = {
  ...completionsFacts,
  async run({ shell }, { terminal }) {
    if (shell === undefined) {
      throw new UsageError("Cannot tell for which shell: SHELL is missing", {
        action: `Write one of: ${SHELLS.map((name) => `modelrelay completions ${name}`).join(", ")}`,
      });
    }
    await terminal.out(WRITERS[shell](completionPlaces(ALL_COMMANDS, GROUPS)));
    return 0;
  },
};

export default commandNode(completionsCommand);
