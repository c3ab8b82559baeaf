import type { RequestDetails } from "../server/bodies/request-route.ts";
import { USAGE_GROUPS } from "../server/usage/usage-store.ts";
import type { UsageSumView, UsageView } from "../server/usage/usage-routes.ts";
import { UsageError } from "../base/errors.ts";
import { commandNode, type Command, type Terminal } from "./command.ts";
import { openOperator, operatorOptions } from "./operator.ts";
import { defineOptions, type Config } from "./options.ts";
import { requestText } from "./request-text.ts";
import { tableText } from "./table-text.ts";
import { oneOf, onOff, textKind } from "./value-kinds.ts";

/** The relay reads it: it knows what time it is where the usage is. */
const when = textKind("a duration such as 7d, a day such as 2026-11-01, or a time", (text) =>
  /^[\w.:+-]+$/.test(text.trim()) ? text.trim() : undefined,
);

const requestId = textKind("the id of a request", (text) => {
  const id = text.trim();
  return /^[\w.:-]{1,128}$/.test(id) ? id : undefined;
});

const usageOptions = defineOptions({
  by: {
    inFile: false,
    default: "key",
    hint: "GROUP",
    help: "What is summed up: key, model, worker or day (UTC)",
    schema: oneOf(USAGE_GROUPS),
  },
  since: {
    inFile: false,
    default: "30d",
    hint: "WHEN",
    help: "From when on: 7d back, a day such as 2026-11-01, or a time",
    schema: when,
  },
  until: {
    inFile: false,
    hint: "WHEN",
    help: "Up to when, in the same forms",
    defaultText: "now",
    schema: when,
  },
  request: {
    inFile: false,
    hint: "ID",
    help: "Show one request instead, and what was asked and answered where that is kept",
    schema: requestId,
  },
  csv: { kind: "switch", default: "false", inFile: false, help: "Print CSV", schema: onOff },
  ...operatorOptions,
});

const COLUMNS = [
  ["requests", "REQUESTS"],
  ["failed", "FAILED"],
  ["prompt_tokens", "PROMPT"],
  ["completion_tokens", "COMPLETION"],
  ["cached_tokens", "CACHED"],
  ["bytes_in", "BYTES IN"],
  ["bytes_out", "BYTES OUT"],
] as const;

/** Numbers stand at the right of their columns. */
function asTable({ by, usage, total }: UsageView): string {
  const body = usage.map((sum) => [shownGroup(by, sum), ...COLUMNS.map(([name]) => String(sum[name]))]);
  const rows = [
    [by.toUpperCase(), ...COLUMNS.map(([, title]) => title)],
    ...body,
    ["total", ...COLUMNS.map(([name]) => String(total[name]))],
  ];
  const widths = COLUMNS.map((_, at) => Math.max(...rows.map((row) => row[at + 1]?.length ?? 0)));
  return tableText(
    rows.map(([group = "", ...cells]) => [group, ...cells.map((cell, at) => cell.padStart(widths[at]!))]),
  );
}

/** Requests without a key, or that no worker had. */
function shownGroup(by: string, { group }: UsageSumView): string {
  return group === "" ? `(no ${by})` : group;
}

function asCsv({ by, usage }: UsageView): string {
  const rows = [
    [by, ...COLUMNS.map(([name]) => name)],
    ...usage.map((sum) => [csvText(sum.group), ...COLUMNS.map(([name]) => String(sum[name]))]),
  ];
  return rows.map((row) => `${row.join(",")}\r\n`).join("");
}

/** RFC 4180; what a spreadsheet would take for a formula is kept from being one. */
function csvText(text: string): string {
  const plain = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

export const usageCommand: Command<typeof usageOptions> = {
  name: "usage",
  summary: "Shows what was used: requests, tokens and bytes, by key, model, worker or day",
  examples: [
    { line: "modelrelay usage", does: "What each key has used in the last 30 days" },
    {
      line: "modelrelay usage --request 6f1c8c0e-53f5-4b1e-9d3b-2b9a54f0c7aa",
      does: "One request, by the id that GET /admin/requests has for it",
    },
    { line: "modelrelay usage --by day --since 2026-11-01 --csv", does: "A table of days for a spreadsheet" },
  ],
  options: usageOptions,
  file: "serve",
  check({ config, origins }) {
    const other = (["by", "since", "until", "csv"] as const).find((name) => origins[name] !== "default");
    if (config.request !== undefined && other !== undefined)
      throw new UsageError(`Cannot show one request (${origins.request}) with ${other} (${origins[other]})`, {
        action: "Leave one of them out",
      });
    if (!config.csv || !config.json) return;
    throw new UsageError(`Cannot print both CSV (${origins.csv}) and JSON (${origins.json})`, {
      action: "Keep one of them",
    });
  },
  async run(config, { terminal }) {
    const { by, since, until } = config;
    if (config.request !== undefined) return showRequest(config, config.request, terminal);
    const query = new URLSearchParams({ by, since, ...(until !== undefined && { until }) });
    await using operator = await openOperator(config);
    const view = await operator.ask<UsageView>("GET", `/admin/usage?${query.toString()}`);
    await terminal.out(
      config.json ? `${JSON.stringify(view, null, 2)}\n` : config.csv ? asCsv(view) : asTable(view),
    );
    return 0;
  },
};

async function showRequest(
  config: Config<typeof operatorOptions>,
  id: string,
  terminal: Terminal,
): Promise<number> {
  await using operator = await openOperator(config);
  const details = await operator.ask<RequestDetails>("GET", `/admin/requests/${id}`);
  await terminal.out(config.json ? `${JSON.stringify(details, null, 2)}\n` : requestText(details));
  return 0;
}

export default commandNode(usageCommand);
