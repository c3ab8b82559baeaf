import type { CompletedFlag, Place, Takes } from "./completion-places.ts";

const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;
/** What ends an explanation, or a part of a description, otherwise. */
const explained = (text: string): string => text.replaceAll(/[[\]\\]/g, String.raw`\$&`);
const described = (text: string): string => text.replaceAll(/[:\\]/g, String.raw`\$&`);

function action(takes: Takes): string {
  switch (takes.kind) {
    case "names":
      return `(${takes.names.join(" ")})`;
    case "file":
      return "_files";
    case "folder":
      return "_files -/";
    case "text":
      return " ";
  }
}

function flagSpec({ name, help, takes, hint, isRepeatable, excludes }: CompletedFlag): string {
  const before = isRepeatable ? "*" : excludes.length === 0 ? "" : `(${excludes.join(" ")})`;
  const value = takes === undefined ? "" : `:${described(hint)}:${action(takes)}`;
  // With = the value may stand in the same word or in the next.
  return quoted(`${before}${name}${takes === undefined ? "" : "="}[${explained(help)}]${value}`);
}

function placeArm({ words, members, operands, flags }: Place): string {
  const specs = [
    ...flags.map(flagSpec),
    ...(members.length === 0 ? [] : [quoted("1:command:{_describe -t commands command members}")]),
    ...operands.map(({ hint, takes }, index) => quoted(`${index + 1}:${described(hint)}:${action(takes)}`)),
  ];
  const list = members.map(({ name, help }) => `        ${quoted(`${name}:${described(help)}`)}\n`).join("");
  return `    (${quoted(words)})
      members=(
${list}      )
      _arguments -S ${specs.join(" \\\n        ")}
      ;;
`;
}

export function zshCompletion(places: readonly Place[]): string {
  const known = places.map(({ words }) => words).filter((words) => words !== "");
  const withRest = places.filter(({ hasRest }) => hasRest).map(({ words }) => quoted(words));
  const rest =
    withRest.length === 0
      ? ""
      : `  # Behind -- stand the flags of the command that the first operand names.
  case $place in
    (${withRest.join("|")})
      local -i end=\${words[(i)--]}
      if (( end < CURRENT )); then
        place=$words[2]
        words=("$place" "\${(@)words[end + 1,-1]}")
        (( CURRENT -= end - 1 ))
      fi
      ;;
  esac
`;
  return `#compdef modelrelay
# zsh completion for modelrelay, made by: modelrelay completions zsh

_modelrelay() {
  local place='' next
  local -a members
  # The words that name the command become one, as _arguments expects.
  while (( CURRENT > 2 )); do
    next="\${place:+$place }$words[2]"
    case $next in
      (${known.map(quoted).join("|")})
        place=$next
        shift words
        (( CURRENT-- ))
        ;;
      (*) break ;;
    esac
  done
${rest}  case $place in
${places.map(placeArm).join("")}  esac
}

# Loaded by the completion system, the file is the function; sourced, it has to be made known.
if [ "$funcstack[1]" = _modelrelay ]; then
  _modelrelay "$@"
else
  compdef _modelrelay modelrelay
fi
`;
}
