import { BlockList, isIP, isIPv4 } from "node:net";
import type { Outcome } from "../base/check-result.ts";
import { withoutPassword } from "../base/without-password.ts";
import { doubtful, good, type Machine } from "./context.ts";

/** An address that something on this machine asks over HTTP. */
export interface Asked {
  url: string;
  /** Who asks, in words that begin a sentence. */
  who: string;
  /** Whether being sent through a proxy is what such a variable is for. */
  mayBeProxied: boolean;
}

interface Proxy {
  variable: string;
  address: string;
}

const LINK_IS_DIRECT = "the link of a worker goes past it";

/** Variables that send HTTP requests through a proxy, and whom of those asked they catch. */
export function checkProxies({ env }: Machine, asked: readonly Asked[]): Outcome[] {
  const names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].flatMap((name) => [name, name.toLowerCase()]);
  const set = names.filter((name) => (env[name] ?? "") !== "");
  if (set.length === 0) return [good("", "no variable sends requests through one")];
  const told = set.map((name) => `${name}=${withoutPassword(env[name] ?? "")}`).join(", ");
  const caught = asked.flatMap(({ url, who, mayBeProxied }) => {
    const proxy = proxyFor(url, env);
    if (proxy === undefined || mayBeProxied) return [];
    const host = hostOf(url);
    const details = `${who} ${url} through ${withoutPassword(proxy.address)} (${proxy.variable})`;
    return [doubtful(proxy.variable, details, `Add ${host} to NO_PROXY: ${noProxyWith(env, host)}`)];
  });
  if (caught.length > 0) return caught;
  const proxied = asked.filter(({ url, mayBeProxied }) => mayBeProxied && proxyFor(url, env) !== undefined);
  const through = proxied.map(({ url }) => hostOf(url)).join(", ");
  return [good("", `${told}: ${through === "" ? "" : `used for ${through}; `}${LINK_IS_DIRECT}`)];
}

/** The proxy that an address is asked through, by the rules of the runtime. */
export function proxyFor(url: string, env: Machine["env"]): Proxy | undefined {
  const { protocol } = new URL(url);
  const base = protocol === "https:" ? "https_proxy" : "http_proxy";
  const names = [base, base.toUpperCase(), "all_proxy", "ALL_PROXY"];
  const variable = names.find((name) => (env[name] ?? "") !== "");
  if (variable === undefined || isExempt(new URL(url), env["no_proxy"] || env["NO_PROXY"] || ""))
    return undefined;
  return { variable, address: env[variable] ?? "" };
}

/** Names with all below them, networks, or `*`; a port may follow. */
function isExempt(url: URL, list: string): boolean {
  const host = hostOf(url.href).toLowerCase();
  return list
    .split(",")
    .map((entry) => entry.trim().toLowerCase())
    .filter((entry) => entry !== "")
    .some((entry) => {
      if (entry === "*") return true;
      if (entry.includes("/")) return isInNetwork(host, entry);
      const [, name = entry, port] = /^(.*[^:]):(\d+)$/.exec(entry) ?? [];
      if (port !== undefined && isIP(entry) === 0 && port !== portOf(url)) return false;
      const bare = (isIP(entry) === 0 ? name : entry).replace(/^\[|\]$/g, "").replace(/^\*?\./, "");
      return host === bare || (isIP(host) === 0 && host.endsWith(`.${bare}`));
    });
}

function portOf({ port, protocol }: URL): string {
  return port === "" ? (protocol === "https:" ? "443" : "80") : port;
}

function isInNetwork(host: string, network: string): boolean {
  const [address = "", bits = ""] = network.split("/");
  const kind = isIPv4(address) ? "ipv4" : "ipv6";
  if (isIP(host) === 0 || isIP(address) === 0 || isIPv4(host) !== isIPv4(address)) return false;
  const list = new BlockList();
  try {
    list.addSubnet(address, Number(bits), kind);
  } catch {
    return false;
  }
  return list.check(host, kind);
}

function hostOf(url: string): string {
  return new URL(url).hostname.replace(/^\[|\]$/g, "");
}

function noProxyWith(env: Machine["env"], host: string): string {
  const present = env["no_proxy"] || env["NO_PROXY"];
  return `NO_PROXY=${present === undefined || present === "" ? "" : `${present},`}${host}`;
}
