import type { Histogram } from "./histogram.ts";

/** How a scraper wants its text. */
export type Format = "prometheus" | "openmetrics";

export const CONTENT_TYPES: Record<Format, string> = {
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/** What a name stands for: counters only grow, and their names end with `_total`. */
export type Kind = "counter" | "gauge" | "histogram";

/**
 * Metrics as text: Prometheus' own format, version 0.0.4, or OpenMetrics 1.0. All samples of a family are
 * to follow its head.
 */
export class Exposition {
  readonly #open: boolean;
  #text = "";
  #name = "";

  constructor(format: Format) {
    this.#open = format === "openmetrics";
  }

  /** @param name for a counter with `_total`, which OpenMetrics leaves out of the head */
  family(name: string, kind: Kind, help: string): void {
    this.#name = name;
    const family = this.#open && kind === "counter" ? name.replace(/_total$/, "") : name;
    this.#text += `# HELP ${family} ${escaped(help)}\n# TYPE ${family} ${kind}\n`;
  }

  /** @param labels as `labelText` writes them; empty for none */
  sample(labels: string, value: number): void {
    this.#line(this.#name, labels, value);
  }

  histogram(labels: string, { bounds, counts, sum }: Histogram): void {
    const before = labels === "" ? "" : `${labels},`;
    let count = 0;
    for (let at = 0; at < counts.length; at++) {
      count += counts[at]!;
      const bound = bounds[at];
      const le = bound === undefined ? "+Inf" : this.#bound(bound);
      this.#line(`${this.#name}_bucket`, `${before}le="${le}"`, count);
    }
    this.#line(`${this.#name}_sum`, labels, sum);
    this.#line(`${this.#name}_count`, labels, count);
  }

  /** One family with a single sample. */
  single(name: string, kind: Kind, help: string, value: number | undefined): void {
    if (value === undefined) return;
    this.family(name, kind, help);
    this.sample("", value);
  }

  /** The whole text; nothing can follow. */
  end(): string {
    return this.#open ? `${this.#text}# EOF\n` : this.#text;
  }

  #line(name: string, labels: string, value: number): void {
    this.#text += labels === "" ? `${name} ${number(value)}\n` : `${name}{${labels}} ${number(value)}\n`;
  }

  /** OpenMetrics writes the bounds of buckets as floating-point numbers. */
  #bound(bound: number): string {
    return this.#open && Number.isInteger(bound) ? `${bound}.0` : String(bound);
  }
}

/** Labels as they stand between the braces. */
export function labelText(labels: Record<string, string>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${escaped(value).replaceAll('"', '\\"')}"`)
    .join(",");
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function number(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  return value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value);
}

/** @param accept the header; Prometheus names every format that it reads */
export function formatFor(accept: string | null): Format {
  const wants = /application\/openmetrics-text(?![^,]*;\s*q=0(?:\.0*)?\s*(?:,|;|$))/i.test(accept ?? "");
  return wants ? "openmetrics" : "prometheus";
}
