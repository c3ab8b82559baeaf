import { isIP, isIPv4, isIPv6 } from "node:net";
import { resolve } from "node:path";
import * as z from "zod";
import { formatBytes, parseBytes } from "../base/bytes.ts";
import { parseDuration } from "../base/duration.ts";

/** Longest duration that a setting takes, in ms: more is a slip of units, not a wish. */
const MAX_DURATION_MS = 365 * 24 * 3_600_000;

/** A list on one line; spaces around the commas do not count. */
export const splitList = (text: string): string[] => text.split(",").map((item) => item.trim());

/**
 * A schema that reads text as an operator writes it.
 *
 * @param accepts finishes the sentence "expected …"; also shown in the reference page
 * @param parse the value, or `undefined` if the text is not one; or it throws a `Problem` that says more
 */
export function textKind<V>(accepts: string, parse: (text: string) => V | undefined): z.ZodType<V, string> {
  const reads = z.string().transform((text, context): V => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.addIssue(accepts);
    return z.NEVER;
  });
  return reads.describe(accepts);
}

export const duration = textKind(
  "a duration such as 30s, 5m or 1h30m, or a plain number of seconds",
  (text) => {
    const ms = parseDuration(text);
    return ms !== undefined && ms <= MAX_DURATION_MS ? ms : undefined;
  },
);

export const size = textKind(
  "a size such as 64KiB, 128MiB or 1GB, or a plain number of bytes, above 0",
  (text) => {
    const bytes = parseBytes(text);
    return bytes === 0 ? undefined : bytes;
  },
);

/** @param min in bytes, as `max`; both are allowed */
export function sizeBetween(min: number, max: number): z.ZodType<number, string> {
  return textKind(`a size from ${formatBytes(min)} to ${formatBytes(max)}`, (text) => {
    const bytes = parseBytes(text);
    return bytes !== undefined && bytes >= min && bytes <= max ? bytes : undefined;
  });
}

export function integer(min: number, max: number): z.ZodType<number, string> {
  return textKind(`a whole number from ${min} to ${max}`, (text) => {
    const value = Number(text);
    return /^\s*\d+\s*$/.test(text) && value >= min && value <= max ? value : undefined;
  });
}

export function oneOf<const N extends string>(names: readonly N[]): z.ZodType<N, string> {
  const accepts = `one of ${names.join(", ")}`;
  const kind = textKind(accepts, (text) => names.find((name) => name === text.trim().toLowerCase()));
  return kind.meta({ description: accepts, names });
}

/** The only texts that a kind made by `oneOf` reads; `undefined` for any other. */
export function namesOf(schema: z.ZodType): readonly string[] | undefined {
  return schema.meta()?.["names"] as readonly string[] | undefined;
}

const SWITCH: Record<string, boolean> = {
  true: true,
  yes: true,
  "1": true,
  false: false,
  no: false,
  "0": false,
};

export const onOff = textKind(
  "true or false (yes, no, 1 and 0 as well)",
  (text) => SWITCH[text.trim().toLowerCase()],
);

/** Text that is shown to people: one line, no control characters. */
export function label(maxLength: number): z.ZodType<string, string> {
  return textKind(`1 to ${maxLength} characters on one line`, (text) => {
    const name = text.trim();
    return name !== "" && name.length <= maxLength && !/\p{Cc}/u.test(name) ? name : undefined;
  });
}

export const secret = textKind("at least one character, all on one line", (text) =>
  text !== "" && !/\p{Cc}/u.test(text) ? text : undefined,
);

/** An absolute path; a relative one is taken from the current directory. */
export const path = textKind("a path", (text) =>
  text.trim() === "" || text.includes("\0") ? undefined : resolve(text),
);

export interface ListenAddress {
  /** As the listener takes it: an IPv6 address has no brackets; `::` is every address of the machine. */
  host: string;
  /** 0 lets the system choose. */
  port: number;
}

function hostOf(text: string): string | undefined {
  if (text === "") return "::";
  if (text.startsWith("["))
    return text.endsWith("]") && isIPv6(text.slice(1, -1)) ? text.slice(1, -1) : undefined;
  if (isIPv4(text)) return text;
  // Digits and dots alone are a mistyped IPv4 address, not a name.
  return /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(text) && !/^[\d.]+$/.test(text) ? text : undefined;
}

export const listenAddress = textKind(
  "HOST:PORT, such as 127.0.0.1:8080, [::1]:8080 or :8080",
  (text): ListenAddress | undefined => {
    const match = /^(.*):(\d{1,5})$/.exec(text.trim());
    const host = hostOf(match?.[1] ?? "?");
    const port = Number(match?.[2]);
    return host !== undefined && port <= 65_535 ? { host, port } : undefined;
  },
);

/** Whether only programs on this machine can reach the host. A name other than `localhost` may be any. */
export function isLoopback(host: string): boolean {
  if (isIP(host) === 0) return host.toLowerCase() === "localhost";
  return host === "::1" || /^(::ffff:)?127\./i.test(host);
}

/** The same for the host of an address. */
export function leadsHere(url: string): boolean {
  return isLoopback(new URL(url).hostname.replace(/^\[|\]$/g, ""));
}

/** An http or https address without a final slash; a query or fragment makes no sense in one. */
export const httpAddress = textKind("an http:// or https:// address", (text) => {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.search !== "" || url.hash !== "")
    return undefined;
  return url.href.replace(/\/+$/, "");
});

/** Origins that browsers may call from: `["*"]` is every one, `[]` none. */
export const origins = textKind(
  "*, none, or origins such as https://app.example.com",
  (text): readonly string[] | undefined => {
    const items = splitList(text);
    if (items.length === 1 && items[0] === "none") return [];
    if (items.length === 1 && items[0] === "*") return ["*"];
    const read = items.map((item) => (URL.canParse(item) ? new URL(item) : undefined));
    const plain = read.every(
      (url) => url !== undefined && /^https?:$/.test(url.protocol) && url.href === `${url.origin}/`,
    );
    return plain ? [...new Set(read.map((url) => url?.origin ?? ""))] : undefined;
  },
);
