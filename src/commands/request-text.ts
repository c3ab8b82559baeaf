import { formatBytes } from "../base/bytes.ts";
import type { BodyView, RequestDetails } from "../server/bodies/request-route.ts";
import { tableText } from "./table-text.ts";

/** One request for a terminal: its record, then what was asked and answered. */
export function requestText({ request, bodies }: RequestDetails): string {
  const record =
    request === null
      ? "Its record is not kept any more\n"
      : tableText(Object.entries(request).map(([name, value]) => [name, shownValue(value)]));
  if (bodies === null) return `${record}\nNo bodies of it are kept\n`;
  return `${record}\n${bodyText("request", bodies.request)}\n${bodyText("answer", bodies.answer)}`;
}

function shownValue(value: unknown): string {
  if (value === null) return "-";
  return String(typeof value === "object" && "name" in value ? value.name : value);
}

function bodyText(name: string, { encoding, body, bytes, truncated }: BodyView): string {
  const facts = [
    formatBytes(bytes),
    ...(encoding === "base64" ? ["base64"] : []),
    ...(truncated ? ["only its beginning is kept"] : []),
  ];
  const text = plain(body);
  return `${name} (${facts.join(", ")})\n${text}${text === "" || text.endsWith("\n") ? "" : "\n"}`;
}

/** Control characters of foreign text must not reach a terminal, nor what turns the order of letters around. */
export function plain(text: string): string {
  return text.replaceAll("\r\n", "\n").replaceAll(/[^\P{Cc}\t\n]|[\u202a-\u202e\u2066-\u2069]/gu, "?");
}
