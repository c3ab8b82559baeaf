import type { CommandFacts } from "./command.ts";
import { defineOptions } from "./options.ts";
import { oneOf } from "./value-kinds.ts";

export const SHELLS = ["bash", "zsh", "fish", "powershell"] as const;

export const completionsOptions = defineOptions({
  shell: {
    operand: true,
    inFile: false,
    hint: "SHELL",
    help: "The shell to complete in: bash, zsh, fish or powershell",
    schema: oneOf(SHELLS),
  },
});

/** What the command is, apart from what it does: that needs every other command. */
export const completionsFacts = {
  name: "completions",
  summary: "Prints what lets a shell complete commands, flags and values",
  examples: [
    {
      line: "modelrelay completions bash > ~/.local/share/bash-completion/completions/modelrelay",
      does: "For bash with the package bash-completion; without it, source the file in ~/.bashrc",
    },
    {
      line: "modelrelay completions zsh > ~/.zfunc/_modelrelay",
      does: "For zsh, with fpath+=(~/.zfunc) before compinit in ~/.zshrc",
    },
    {
      line: "modelrelay completions fish > ~/.config/fish/completions/modelrelay.fish",
      does: "For fish",
    },
    {
      line: "modelrelay completions powershell >> $PROFILE",
      does: "For PowerShell",
    },
  ],
  options: completionsOptions,
} satisfies CommandFacts;
