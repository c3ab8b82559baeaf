import { FFIType, ptr } from "bun:ffi";
import { platform } from "node:process";
import type { Clock, Timer } from "./clock.ts";
import { openLibc } from "./libc.ts";
import { oneLine } from "./one-line.ts";

// systemd hears what a service has to say as datagrams on a unix socket that NOTIFY_SOCKET names
// (sd_notify(3)). The runtime has no such sockets, so the C library is asked.
//
// A handover: the one that runs calls `handingOver`, and starts its successor with the same environment.
// That calls `tookOver` once it listens, which makes it the main process of the unit; the one that ran
// calls `handedOver`, is silent from then on, and drains. Should the successor fail, the one that ran
// calls `ready` again, or `tookOver` if the successor has been the main process by then. The unit must
// have NotifyAccess=all, or systemd hears the main process alone.

/** The program that started this one as a service and wants to hear how it is; or nobody at all. */
export interface ServiceManager {
  /** Whoever waits for the service to start waits no longer. */
  ready(status: string): void;
  /** What `systemctl status` shows. */
  status(text: string): void;
  /** It ends, and needs up to `withinMs` for that: it is not killed earlier. */
  stopping(status: string, withinMs: number): void;
  /** A successor is about to be started; `ready` or `tookOver` is the end of that. */
  handingOver(status: string): void;
  /** This process is the service from now on, and is ready: for a successor, and for whose successor has died. */
  tookOver(status: string): void;
  /** For the one that was the service: says nothing any more, since systemd would take it for the successor. */
  handedOver(): void;
  /** Ends the signs of life, and with them what keeps the process alive. */
  close(): void;
}

export interface ServiceManagerParts {
  /** Variables of the process: `NOTIFY_SOCKET`, `WATCHDOG_USEC`. */
  env: Readonly<Record<string, string | undefined>>;
  clock: Clock;
  /** Takes a datagram to the manager; false if it could not. Tests hand in their own. */
  send?: (text: string) => boolean;
}

const WAITS = "Waits for ";

/** A status of a service that runs and cannot do its work yet; `isWaiting` knows it again. */
export function waitsFor(what: string): string {
  return `${WAITS}${what}`;
}

export function isWaiting(status: string): boolean {
  return status.startsWith(WAITS);
}

const AF_UNIX = 1;
/** `SOCK_DGRAM | SOCK_CLOEXEC`. */
const DATAGRAM = 2 | 0o2000000;
/** `MSG_DONTWAIT | MSG_NOSIGNAL`: a manager that does not read must not stop the service. */
const FLAGS = 0x40 | 0x4000;
/** `sun_path` of sockaddr_un. */
const MAX_PATH = 108;

/** A manager that is busy takes it a little later. */
const RETRY_MS = 100;
const MAX_RETRIES = 100;

/** How a service tells its manager; does nothing where there is none, as in a terminal. */
export function findServiceManager({ env, clock, send }: ServiceManagerParts): ServiceManager {
  const address = env["NOTIFY_SOCKET"];
  const deliver = send ?? (address === undefined ? undefined : datagramTo(address));
  if (deliver === undefined) return NOBODY;
  const intervalUs = Number(env["WATCHDOG_USEC"]);
  return new Systemd(deliver, clock, intervalUs > 0 ? intervalUs / 1000 / 2 : undefined);
}

const NOBODY: ServiceManager = {
  ready() {},
  status() {},
  stopping() {},
  handingOver() {},
  tookOver() {},
  handedOver() {},
  close() {},
};

class Systemd implements ServiceManager {
  readonly #deliver: (text: string) => boolean;
  readonly #clock: Clock;
  /** Half of the time after which a silent service is taken for dead. */
  readonly #pulseMs: number | undefined;
  #pulse: Timer | undefined;
  #retry: Timer | undefined;
  #retries = 0;
  /** What could not be sent yet; its order counts. */
  #unsent: string[] = [];
  #silent = false;

  /** WATCHDOG_PID is not looked at: it names the first of all that handed over, and a successor has its variables. */
  constructor(deliver: (text: string) => boolean, clock: Clock, pulseMs: number | undefined) {
    this.#deliver = deliver;
    this.#clock = clock;
    this.#pulseMs = pulseMs;
  }

  ready(status: string): void {
    this.#tell(["READY=1", statusLine(status)]);
    this.#beat();
  }

  status(text: string): void {
    this.#tell([statusLine(text)]);
  }

  stopping(status: string, withinMs: number): void {
    const extension = Math.ceil(withinMs) * 1000;
    this.#tell(["STOPPING=1", `EXTEND_TIMEOUT_USEC=${extension}`, statusLine(status)]);
  }

  handingOver(status: string): void {
    this.#tell(["RELOADING=1", statusLine(status)]);
  }

  tookOver(status: string): void {
    this.#silent = false;
    this.#tell([`MAINPID=${process.pid}`, "READY=1", statusLine(status)]);
    this.#beat();
  }

  handedOver(): void {
    this.close();
    this.#silent = true;
  }

  close(): void {
    this.#pulse?.cancel();
    this.#pulse = undefined;
    this.#retry?.cancel();
    this.#retry = undefined;
    this.#unsent = [];
  }

  /** A timer of the event loop: if that stands still, so do the signs of life. */
  #beat(): void {
    if (this.#pulseMs === undefined || this.#silent) return;
    this.#pulse?.cancel();
    this.#deliver("WATCHDOG=1");
    this.#pulse = this.#clock.after(this.#pulseMs, () => this.#beat());
  }

  #tell(lines: string[]): void {
    if (this.#silent) return;
    this.#unsent.push(lines.join("\n"));
    this.#retries = 0;
    if (this.#retry === undefined) this.#flush();
  }

  #flush(): void {
    this.#retry = undefined;
    for (let next = this.#unsent[0]; next !== undefined; next = this.#unsent[0]) {
      if (!this.#deliver(next)) {
        if (this.#retries++ < MAX_RETRIES) this.#retry = this.#clock.after(RETRY_MS, () => this.#flush());
        else this.#unsent = [];
        return;
      }
      this.#unsent.shift();
    }
  }
}

function statusLine(text: string): string {
  return `STATUS=${oneLine(text)}`;
}

/** @returns `undefined` for an address that no datagram of this machine gets to */
function datagramTo(address: string): ((text: string) => boolean) | undefined {
  if (platform !== "linux" || !/^[/@]./.test(address)) return undefined;
  const path = Buffer.from(address);
  if (path.length >= MAX_PATH) return undefined;
  // A name that begins with @ is one that no file has, which the kernel is told by a zero.
  const isAbstract = path[0] === 0x40;
  if (isAbstract) path[0] = 0;
  // struct sockaddr_un; the zero at the end belongs to a path, and to the name of an abstract socket it does not.
  const to = new Uint8Array(2 + path.length + (isAbstract ? 0 : 1));
  new DataView(to.buffer).setUint16(0, AF_UNIX, true);
  to.set(path, 2);
  try {
    const libc = openSocketCalls();
    return (text) => {
      const socket = libc.socket(AF_UNIX, DATAGRAM, 0);
      if (socket < 0) return false;
      try {
        const data = Buffer.from(text);
        const sent = libc.sendto(socket, ptr(data), data.length, FLAGS, ptr(to), to.length);
        return Number(sent) === data.length;
      } finally {
        libc.close(socket);
      }
    };
  } catch {
    // A C library of another name: whoever waits for the service finds out otherwise.
    return undefined;
  }
}

function openSocketCalls() {
  const { i32, u32, u64, i64, ptr: pointer } = FFIType;
  return openLibc({
    socket: { args: [i32, i32, i32], returns: i32 },
    sendto: { args: [i32, pointer, u64, i32, pointer, u32], returns: i64 },
    close: { args: [i32], returns: i32 },
  });
}
