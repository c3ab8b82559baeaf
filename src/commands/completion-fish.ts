import type { Place, Takes } from "./completion-places.ts";

/** Within single quotes fish knows two escapes. */
const quoted = (text: string): string =>
  `'${text.replaceAll("\\", String.raw`\\`).replaceAll("'", String.raw`\'`)}'`;

function offer(takes: Takes): string {
  switch (takes.kind) {
    case "names":
      return ` -x -a ${quoted(takes.names.join(" "))}`;
    case "file":
      return " -r -F";
    case "folder":
      return " -x -a '(__fish_complete_directories)'";
    case "text":
      return " -x";
  }
}

/** Behind `--` fish knows no flags: each is a word there, and its value what may follow that word. */
function restLines(place: Place, { words, flags }: Place): string[] {
  const line = (rest: string, flag = "") =>
    `complete -c modelrelay -n ${quoted(`__modelrelay_behind ${quoted(place.words)} ${quoted(words)} ${quoted(flag)}`)}${rest}`;
  return flags
    .filter(({ name }) => name !== "--help")
    .flatMap(({ name, help, takes }) => [
      line(` -a ${name} -d ${quoted(help)}`),
      ...(takes === undefined || takes.kind === "text" ? [] : [line(offer(takes), name)]),
    ]);
}

function placeLines({ words, members, operands, flags }: Place): string[] {
  const line = (rest: string, more = "") =>
    `complete -c modelrelay -n ${quoted(`__modelrelay_at ${quoted(words)}${more}`)}${rest}`;
  return [
    ...members.map(({ name, help }) => line(` -a ${name} -d ${quoted(help)}`)),
    ...operands.flatMap(({ takes }, index) =>
      takes.kind === "text" ? [] : [line(offer(takes), ` ${index}`)],
    ),
    ...flags.map(
      ({ name, help, takes }) =>
        `${line("")} -l ${name.slice(2)}${takes === undefined ? "" : offer(takes)} -d ${quoted(help)}`,
    ),
  ];
}

export function fishCompletion(places: readonly Place[]): string {
  const rest = places
    .filter(({ hasRest }) => hasRest)
    .flatMap((place) => {
      const [first] = place.operands;
      const names = first?.takes.kind === "names" ? first.takes.names : [];
      const behind = places.filter(({ words }) => names.includes(words));
      return behind.flatMap((other) => restLines(place, other));
    });
  const known = places.map(({ words }) => words).filter((words) => words !== "");
  const valued = places.flatMap(({ words, flags }) =>
    flags.filter(({ takes }) => takes !== undefined).map(({ name }) => quoted(`${words} ${name}`)),
  );
  return `# fish completion for modelrelay, made by: modelrelay completions fish

# Prints the command that the words so far name, and how many words without a flag follow it.
function __modelrelay_place
    set -l words (commandline -opc)
    set -l place ''
    set -l operands 0
    set -l flag ''
    set -l first ''
    for word in $words[2..-1]
        if test "$word" = --
            # What follows belongs to the command that the first operand names.
            set place "$place -- $first"
            set flag ''
        else if string match -q -- '-*' $word
            set flag ''
            switch (string replace -r '.* -- ' '' -- "$place")" $word"
                case ${valued.join(" ")}
                    set flag $word
            end
        else if test -n "$flag"
            set flag ''
        else
            switch (string trim -- "$place $word")
                case ${known.map(quoted).join(" ")}
                    set place (string trim -- "$place $word")
                case '*'
                    set operands (math $operands + 1)
                    test -n "$first"; or set first $word
            end
        end
    end
    echo $place
    echo $operands
    echo $flag
end

# Whether the words so far name a command and, where a number follows, so many words come after it.
function __modelrelay_at
    set -l place (__modelrelay_place)
    test "$place[1]" = "$argv[1]"; or return 1
    not set -q argv[2]; or test "$place[2]" = "$argv[2]"
end

# Whether the words so far are a command, --, and for the command that it names so far a flag without its value.
function __modelrelay_behind
    set -l place (__modelrelay_place)
    test "$place[1]" = "$argv[1] -- $argv[2]"; and test "$place[3]" = "$argv[3]"
end

complete -c modelrelay -f
${[...places.flatMap(placeLines), ...rest].join("\n")}
`;
}
