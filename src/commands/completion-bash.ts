import type { Place, Takes } from "./completion-places.ts";

const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;

function actionOf(takes: Takes): string {
  return takes.kind === "names" ? `names ${takes.names.join(" ")}` : takes.kind;
}

/** Arms of a `case`, one for each action, with all the places that lead to it. */
function arms(actions: readonly [pattern: string, action: string][]): string {
  const patterns = new Map<string, string[]>();
  for (const [pattern, action] of actions)
    patterns.set(action, [...(patterns.get(action) ?? []), quoted(pattern)]);
  return [...patterns]
    .map(([action, all]) => `    ${all.join(" | ")}) REPLY=${quoted(action)} ;;\n`)
    .join("");
}

/** A completion that works in bash 3.2, as macOS has it, and without the package bash-completion. */
export function bashCompletion(places: readonly Place[]): string {
  const valued = places.flatMap(({ words, flags }) =>
    flags.flatMap(({ name, takes }) =>
      takes === undefined ? [] : [[`${words} ${name}`, actionOf(takes)] as [string, string]],
    ),
  );
  const operands = places.flatMap(({ words, operands: all }) =>
    all.map(({ takes }, index) => [`${words} ${index + 1}`, actionOf(takes)] as [string, string]),
  );
  const repeatable = places.flatMap(({ words, flags }) =>
    flags.filter(({ isRepeatable }) => isRepeatable).map(({ name }) => quoted(`${words} ${name}`)),
  );
  const withRest = places.filter(({ hasRest }) => hasRest).map(({ words }) => quoted(words));
  const lists = places
    .map(
      ({ words, members, flags }) =>
        `    ${quoted(words)}) members=${quoted(members.map(({ name }) => name).join(" "))} flags=${quoted(flags.map(({ name }) => name).join(" "))} ;;\n`,
    )
    .join("");
  return `# bash completion for modelrelay, made by: modelrelay completions bash

_modelrelay_lists() {
  case $1 in
${lists}    *) return 1 ;;
  esac
}

# What the value of a flag can be, of: a place and a flag.
_modelrelay_value() {
  REPLY=
  case $1 in
${arms(valued)}    *) return 1 ;;
  esac
}

# What a word without a flag can be, of: a place and its number.
_modelrelay_operand() {
  REPLY=
  case $1 in
${arms(operands)}    *) return 1 ;;
  esac
}

# Whether flags of another command may follow -- at a place.
_modelrelay_has_rest() {
  case $1 in
    ${withRest.length === 0 ? "''" : withRest.join(" | ")}) return 0 ;;
  esac
  return 1
}

_modelrelay_is_repeatable() {
  case $1 in
    ${repeatable.length === 0 ? "''" : repeatable.join(" | ")}) return 0 ;;
  esac
  return 1
}

# Fills COMPREPLY with what an action offers for a word.
_modelrelay_offer() {
  local IFS=$'\\n' action=$1 word=$2
  case $action in
    names\\ *)
      action=\${action#names }
      COMPREPLY=($(compgen -W "\${action// /$'\\n'}" -- "$word"))
      ;;
    file)
      compopt -o filenames 2>/dev/null
      COMPREPLY=($(compgen -f -- "$word"))
      ;;
    folder)
      compopt -o filenames 2>/dev/null
      COMPREPLY=($(compgen -d -- "$word"))
      ;;
  esac
}

_modelrelay() {
  local REPLY members flags place='' first='' word flag='' used=' ' operands=0 at=1 last=$COMP_CWORD
  local current=\${COMP_WORDS[COMP_CWORD]} prefix=''
  COMPREPLY=()
  while [ "$at" -lt "$last" ] && _modelrelay_lists "\${place:+$place }\${COMP_WORDS[at]}"; do
    place="\${place:+$place }\${COMP_WORDS[at]}"
    at=$((at + 1))
  done
  _modelrelay_lists "$place" || return
  # What stands between the command and the word that is completed.
  while [ "$at" -lt "$last" ]; do
    word=\${COMP_WORDS[at]}
    at=$((at + 1))
    case $word in
      --)
        # The flags of the command that the first operand names follow.
        _modelrelay_has_rest "$place" && _modelrelay_lists "$first" || return
        place=$first
        used=' '
        flag=''
        operands=0
        ;;
      =) ;;
      --*=*)
        used="$used\${word%%=*} "
        flag=''
        ;;
      -*)
        used="$used$word "
        flag=''
        _modelrelay_value "$place $word" && flag=$word
        ;;
      *)
        if [ -z "$flag" ]; then
          operands=$((operands + 1))
          [ -n "$first" ] || first=$word
        fi
        flag=''
        ;;
    esac
  done
  case $current in
    =) [ -z "$flag" ] || current='' ;;
    --*=*)
      # Where = divides no words.
      flag=\${current%%=*}
      prefix=$flag=
      current=\${current#*=}
      ;;
  esac
  if [ -n "$flag" ]; then
    _modelrelay_value "$place $flag" && _modelrelay_offer "$REPLY" "$current"
    [ -z "$prefix" ] || COMPREPLY=("\${COMPREPLY[@]/#/$prefix}")
    return
  fi
  case $current in
    -*) ;;
    *)
      if [ -n "$members" ]; then
        _modelrelay_offer "names $members" "$current"
        return
      fi
      if _modelrelay_operand "$place $((operands + 1))" && [ "$REPLY" != text ]; then
        _modelrelay_offer "$REPLY" "$current"
        return
      fi
      [ -z "$current" ] || return
      ;;
  esac
  local left=''
  for word in $flags; do
    # They double the list, and are thought of only by who begins to type one.
    case $word in --no-*) case $current in --no*) ;; *) continue ;; esac ;; esac
    case $used in
      *" $word "*) _modelrelay_is_repeatable "$place $word" || continue ;;
    esac
    left="\${left:+$left }$word"
  done
  _modelrelay_offer "names $left" "$current"
}

complete -F _modelrelay modelrelay
`;
}
