import { readdirSync, readlinkSync } from "node:fs";
import { isIP } from "node:net";
import { basename, join } from "node:path";
import { hostPort } from "../base/ip-address.ts";
import { oneLine } from "../base/one-line.ts";
import { systemText, type Machine } from "./context.ts";

/** Of the name of a program. */
const MAX_NAME = 40;

/** A program that has a port. */
export interface Holder {
  pid: number;
  name: string;
  /** Path of the executable; `undefined` if the process belongs to another user. */
  program: string | undefined;
}

export interface PortAddress {
  /** An address, or a name such as `localhost`. */
  host: string;
  port: number;
  carrier: "tcp" | "udp";
}

/** State of a socket that accepts connections, and of a UDP socket without a peer (Linux, tcp_states.h). */
const STATE = { tcp: "0A", udp: "07" };
const ANY = ["0.0.0.0", "::"];

/**
 * Who listens where the address leads, on Linux.
 *
 * @returns `undefined` if the system does not say; empty if those who do belong to other users
 */
export function holdersOf(machine: Machine, wanted: PortAddress): Holder[] | undefined {
  if (machine.platform !== "linux") return undefined;
  const inodes = new Set(
    ["", "6"].flatMap((version) => inodesIn(machine, `proc/net/${wanted.carrier}${version}`, wanted)),
  );
  if (inodes.size === 0) return undefined;
  return processesWith(machine, inodes);
}

function inodesIn(machine: Machine, table: string, { host, port, carrier }: PortAddress): string[] {
  const lines = systemText(machine, table)?.trim().split("\n").slice(1) ?? [];
  return lines.flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    const [hex = "", hexPort = ""] = (fields[1] ?? "").split(":");
    if (Number.parseInt(hexPort, 16) !== port || fields[3] !== STATE[carrier]) return [];
    return overlaps(host, addressOf(hex)) ? [fields[9] ?? ""] : [];
  });
}

/** Whether both cannot be had at once; a name may lead anywhere. */
function overlaps(wanted: string, held: string): boolean {
  const plain = held.replace(/^::ffff:(?=\d)/, "");
  return isIP(wanted) === 0 || ANY.includes(wanted) || ANY.includes(plain) || wanted === plain;
}

/** The kernel writes an address as 32-bit words in the machine's own order; all of ours are little-endian. */
function addressOf(hex: string): string {
  const bytes = (hex.match(/.{8}/g) ?? []).flatMap((word) => (word.match(/../g) ?? []).toReversed());
  const numbers = bytes.map((byte) => Number.parseInt(byte, 16));
  if (numbers.length === 4) return numbers.join(".");
  const mapped =
    numbers.slice(0, 10).every((byte) => byte === 0) && numbers[10] === 255 && numbers[11] === 255;
  if (mapped) return `::ffff:${numbers.slice(12).join(".")}`;
  const groups = Array.from({ length: 8 }, (_, at) => `${bytes[2 * at]}${bytes[2 * at + 1]}`);
  // The one spelling that other addresses are compared with.
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}

function processesWith(machine: Machine, inodes: ReadonlySet<string>): Holder[] {
  const links = new Set([...inodes].map((inode) => `socket:[${inode}]`));
  return entries(join(machine.root, "proc"))
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      const folder = join(machine.root, "proc", pid, "fd");
      return entries(folder).some((file) => links.has(linkAt(join(folder, file)) ?? ""));
    })
    .map((pid) => describe(machine, Number(pid)));
}

function describe(machine: Machine, pid: number): Holder {
  const program = programOf(machine, pid);
  // A program chooses both of its names.
  const name = oneLine(systemText(machine, `proc/${pid}/comm`)?.trim() ?? "", MAX_NAME);
  return { pid, name: name || oneLine(basename(program ?? ""), MAX_NAME) || "a program", program };
}

/** Path of a process's executable; one that was replaced since has ` (deleted)` behind it. */
export function programOf({ root }: Machine, pid: number): string | undefined {
  return linkAt(join(root, "proc", String(pid), "exe"));
}

/** A process may end, or belong to somebody else. */
function entries(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function linkAt(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** `nginx (process 812, /usr/sbin/nginx)`. */
export function holderText({ pid, name, program }: Holder): string {
  return `${name} (process ${pid}${program === undefined ? "" : `, ${oneLine(program)}`})`;
}

/** The command that tells who has a port, where this program cannot. */
export function findCommand(platform: NodeJS.Platform, { port, carrier }: PortAddress): string {
  if (platform === "win32") return `netstat -ano -p ${carrier} | findstr :${port}`;
  if (platform === "linux") return `sudo ss -${carrier === "tcp" ? "lt" : "lu"}np 'sport = :${port}'`;
  return carrier === "tcp" ? `sudo lsof -nP -iTCP:${port} -sTCP:LISTEN` : `sudo lsof -nP -iUDP:${port}`;
}

/** An address that can be compared with others. */
export function addressText({ host, port, carrier }: PortAddress): string {
  return `${hostPort(host, port)}${carrier === "udp" ? " (UDP)" : ""}`;
}
