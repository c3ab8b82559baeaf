import type { Place, Takes } from "./completion-places.ts";

const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`;

function takenText(takes: Takes | undefined): string {
  if (takes === undefined) return "";
  return takes.kind === "names" ? `names ${takes.names.join(" ")}` : takes.kind;
}

function placeLines({ words, members, operands, flags, hasRest }: Place): string {
  const memberList = members.map(
    ({ name, help }) => `        @{ Name = ${quoted(name)}; Help = ${quoted(help)} }\n`,
  );
  const flagList = flags.map(({ name, help, takes, isRepeatable }) => {
    const facts = `Takes = ${quoted(takenText(takes))}; Again = ${isRepeatable ? "$true" : "$false"}`;
    return `        @{ Name = ${quoted(name)}; Help = ${quoted(help)}; ${facts} }\n`;
  });
  const operandList = operands.map(({ takes }) => quoted(takenText(takes))).join(", ");
  return `    ${quoted(words)} = @{
      Members = @(
${memberList.join("")}      )
      Operands = @(${operandList})
      Rest = ${hasRest ? "$true" : "$false"}
      Flags = @(
${flagList.join("")}      )
    }
`;
}

/** For Windows PowerShell 5.1 and PowerShell 7. */
export function powershellCompletion(places: readonly Place[]): string {
  return `# PowerShell completion for modelrelay, made by: modelrelay completions powershell

Register-ArgumentCompleter -Native -CommandName @('modelrelay', 'modelrelay.exe') -ScriptBlock {
  param($wordToComplete, $commandAst, $cursorPosition)

  $places = @{
${places.map(placeLines).join("")}  }

  # The words before the one that is completed, without the program.
  $words = @(
    $commandAst.CommandElements |
      Select-Object -Skip 1 |
      Where-Object { $_.Extent.EndOffset -lt $cursorPosition } |
      ForEach-Object { $_.Extent.Text }
  )
  $place = ''
  $first = ''
  $operands = 0
  $pending = $null
  $used = @()
  foreach ($word in $words) {
    if ($word -eq '--') {
      # The flags of the command that the first operand names follow.
      if (-not $places[$place].Rest -or -not $places.ContainsKey($first)) { return }
      $place = $first
      $operands = 0
      $pending = $null
      $used = @()
      continue
    }
    if ($word.StartsWith('-')) {
      $name = ($word -split '=', 2)[0]
      $used += $name
      $flag = $places[$place].Flags | Where-Object { $_.Name -ceq $name } | Select-Object -First 1
      $pending = if ($flag -and $flag.Takes -and -not $word.Contains('=')) { $flag } else { $null }
      continue
    }
    if ($pending) { $pending = $null; continue }
    $next = "$place $word".Trim()
    if ($operands -eq 0 -and $places.ContainsKey($next)) { $place = $next; continue }
    if ($operands -eq 0) { $first = $word }
    $operands++
  }

  function Offer($takes, $word, $prefix) {
    $kind, $rest = $takes -split ' ', 2
    switch ($kind) {
      'names' {
        $rest -split ' ' | Where-Object { $_ -like "$word*" } | ForEach-Object {
          [System.Management.Automation.CompletionResult]::new("$prefix$_", $_, 'ParameterValue', $_)
        }
      }
      'file' { [System.Management.Automation.CompletionCompleters]::CompleteFilename($word) }
      'folder' {
        [System.Management.Automation.CompletionCompleters]::CompleteFilename($word) |
          Where-Object { $_.ResultType -eq 'ProviderContainer' }
      }
    }
  }

  $here = $places[$place]
  if ($pending) { return Offer $pending.Takes $wordToComplete '' }
  if ($wordToComplete -match '^(--[^=]+)=(.*)$') {
    $name, $value = $Matches[1], $Matches[2]
    $flag = $here.Flags | Where-Object { $_.Name -ceq $name } | Select-Object -First 1
    if ($flag -and $flag.Takes.StartsWith('names')) { return Offer $flag.Takes $value "$name=" }
    return
  }
  if (-not $wordToComplete.StartsWith('-')) {
    if ($here.Members.Count -gt 0) {
      return $here.Members | Where-Object { $_.Name -like "$wordToComplete*" } | ForEach-Object {
        [System.Management.Automation.CompletionResult]::new($_.Name, $_.Name, 'ParameterValue', $_.Help)
      }
    }
    if ($operands -lt $here.Operands.Count -and $here.Operands[$operands] -ne 'text') {
      return Offer $here.Operands[$operands] $wordToComplete ''
    }
    if ($wordToComplete) { return }
  }
  # The opposites of switches double the list, and are thought of only by who begins to type one.
  $here.Flags |
    Where-Object { $_.Name -like "$wordToComplete*" -and ($_.Again -or $used -cnotcontains $_.Name) } |
    Where-Object { $wordToComplete -like '--no*' -or $_.Name -notlike '--no-*' } |
    ForEach-Object {
      [System.Management.Automation.CompletionResult]::new($_.Name, $_.Name, 'ParameterName', $_.Help)
    }
}
`;
}
