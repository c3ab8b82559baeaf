import { readFileSync } from "node:fs";
import { join } from "node:path";

export const DOCS = join(import.meta.dir, "../../../docs");

interface Panel {
  title: string;
  type: string;
  targets?: { expr: string }[];
}

interface Variable {
  name: string;
  query: string | { query: string };
}

export interface DashboardQuery {
  panel: string;
  /** As it stands in the file. */
  expression: string;
  /** With Grafana's variables replaced by what stands for everything. */
  filled: string;
}

const dashboard = JSON.parse(readFileSync(join(DOCS, "grafana-dashboard.json"), "utf8")) as {
  panels: Panel[];
  templating: { list: Variable[] };
};

export const dashboardVariables: readonly Variable[] = dashboard.templating.list;

/** What every panel of the dashboard asks Prometheus. */
export const dashboardQueries: readonly DashboardQuery[] = dashboard.panels.flatMap(
  ({ title, targets = [] }) =>
    targets.map(({ expr }) => ({
      panel: title,
      expression: expr,
      filled: expr.replaceAll("$__rate_interval", "1m").replaceAll(/\$(instance|model)\b/g, ".*"),
    })),
);
