import { platform } from "node:process";
import type { ListenAddress } from "./config.ts";

/** Whether a port can pass from one process to another while both listen on it. */
export const CAN_HAND_OVER = platform === "linux";

/** Ports on which a relay listens, by what they are for. */
export interface Ports {
  /** The plain port that was asked for. */
  plain?: number | undefined;
  https?: number | undefined;
  /** The plain port beside HTTPS. */
  http?: number | undefined;
}

/** What a relay learns from the process whose place it takes. */
export interface Heritage {
  ports: Ports;
  /** What that one's workers offer, who will be here in a moment. */
  models: readonly string[];
  /** Resolves when that one listens on its ports no more. */
  released: Promise<void>;
}

/** An address to listen on, and whether the process before this one listens there. */
export interface Place {
  address: ListenAddress;
  isTakenOver: boolean;
}

/** @param port on which the process before this one listens for the same purpose; absent if it does not */
export function placeOf(address: ListenAddress, port: number | undefined): Place {
  if (port === undefined) return { address, isTakenOver: false };
  // Where any port will do, it stays the one that everybody knows.
  if (address.port === 0) return { address: { ...address, port }, isTakenOver: true };
  return { address, isTakenOver: address.port === port };
}
