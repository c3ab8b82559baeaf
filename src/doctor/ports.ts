import { createSocket } from "node:dgram";
import { createServer, isIPv6 } from "node:net";
import { basename } from "node:path";
import type { Outcome } from "../base/check-result.ts";
import { errorCode, messageOf } from "../base/errors.ts";
import { bad, good, type Machine, type RelayHere } from "./context.ts";
import {
  addressText,
  findCommand,
  holdersOf,
  holderText,
  type Holder,
  type PortAddress,
} from "./port-holder.ts";

/** A port that `serve` takes by the settings. */
export interface WantedPort extends PortAddress {
  /** The setting that decides, such as `--listen`. */
  flag: string;
}

/** Whether a port is free, or whose it is. It is taken for a moment to find out. */
export async function checkPort(
  machine: Machine,
  wanted: WantedPort,
  running: RelayHere | undefined,
): Promise<Outcome> {
  const target = `${addressText(wanted)} (${wanted.flag})`;
  const failure = await tryPort(wanted);
  if (failure === undefined) return good(target, "free");
  switch (errorCode(failure) ?? "") {
    case "EADDRINUSE":
      return heldPort(machine, wanted, target, running);
    case "EACCES":
    case "EPERM":
      return bad(
        target,
        "this user may not take a port below 1024",
        `Run it as a service (modelrelay service install serve), allow it (sudo setcap cap_net_bind_service=+ep ${process.execPath}), or choose a port from 1024 on with ${wanted.flag}`,
      );
    case "EADDRNOTAVAIL":
      return bad(
        target,
        "this machine has no such address",
        `Correct ${wanted.flag}; without a host it is every address of the machine`,
      );
    default:
      return bad(target, messageOf(failure), `Correct ${wanted.flag}`);
  }
}

function heldPort(
  machine: Machine,
  wanted: WantedPort,
  target: string,
  running: RelayHere | undefined,
): Outcome {
  const holders = holdersOf(machine, wanted) ?? [];
  if (holders.some(({ pid }) => pid === running?.pid))
    return good(target, "held by the relay that runs here");
  const find = findCommand(machine.platform, wanted);
  if (holders.length === 0) {
    // Without /proc, what is known of the relay here is all that can be known.
    const hint = running === undefined ? "" : ", which may be the relay that runs here";
    return machine.platform === "linux" || running === undefined
      ? bad(target, `held by a program of another user${hint}`, `See which one with: ${find}`)
      : good(target, `held${hint}; ${find} tells`);
  }
  const details = `held by ${holders.map(holderText).join(", ")}`;
  if (holders.some(isModelrelay)) {
    return bad(
      target,
      `${details}, with another data directory`,
      `Name its directory with --data-dir to look at that relay, or choose another port with ${wanted.flag}`,
    );
  }
  const [first] = holders;
  return bad(target, details, `Stop ${first?.name ?? "it"}, or choose another port with ${wanted.flag}`);
}

function isModelrelay({ name, program }: Holder): boolean {
  return name === "modelrelay" || basename(program ?? "").replace(/ \(deleted\)$/, "") === "modelrelay";
}

/** @returns what the system said; `undefined` if the port can be had */
function tryPort({ host, port, carrier }: PortAddress): Promise<Error | undefined> {
  return new Promise((resolve) => {
    if (carrier === "udp") {
      const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
      socket.once("error", (error) => {
        socket.close();
        resolve(error);
      });
      socket.bind({ address: host, port, exclusive: true }, () => socket.close(() => resolve(undefined)));
      return;
    }
    const server = createServer();
    server.once("error", resolve);
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}
