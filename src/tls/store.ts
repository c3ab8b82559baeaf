import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { KeyPair } from "./certificate.ts";

/** What is remembered of a domain between starts. All times are milliseconds since the epoch. */
export interface CertificateState {
  lastError?: { at: number; message: string; action?: string };
  /** Failed tries in a row. */
  failures: number;
  nextTryAt?: number;
  /** The moment that was chosen for the renewal of the stored certificate. */
  renewAt?: number;
  /** The CA's renewal information (RFC 9773), and when to ask again. */
  ari?: { checkedAt: number; retryAt: number; start: number; end: number; explanationUrl?: string };
  /** Who issued the stored certificate. */
  directoryUrl?: string;
}

/** An order at a CA that is not finished; its key is the certificate's. */
export interface PendingOrder {
  orderUrl: string;
  keyPem: string;
  names: string[];
  directoryUrl: string;
  /** Milliseconds since the epoch. */
  createdAt: number;
}

/** An account at a CA. */
export interface StoredAccount {
  keyPem: string;
  accountUrl?: string;
  email?: string;
  eabKid?: string;
}

/** A lock that is held. */
export interface StoreLock extends AsyncDisposable {
  /** Aborted when another took the lock, because this holder could not renew its lease. */
  readonly lost: AbortSignal;
  /** Gives the lock back; a second call does nothing. */
  release(): Promise<void>;
}

/**
 * Certificates, keys and what goes with them, in files. Several processes can use one store. Every write
 * is whole or not at all, whenever the process ends; every failure is a `Problem` that names the file.
 */
export interface CertificateStore {
  /** Proves that files can be written here, enough of them, before an order is spent. */
  prove(): Promise<void>;
  /** Domains that have a folder, in alphabetical order; some may have no certificate yet. */
  domains(): Promise<string[]>;
  certificate(domain: string): Promise<KeyPair | undefined>;
  saveCertificate(domain: string, pair: KeyPair): Promise<void>;
  state(domain: string): Promise<CertificateState>;
  saveState(domain: string, state: CertificateState): Promise<void>;
  pendingOrder(domain: string): Promise<PendingOrder | undefined>;
  savePendingOrder(domain: string, order: PendingOrder): Promise<void>;
  dropPendingOrder(domain: string): Promise<void>;
  account(directoryUrl: string): Promise<StoredAccount | undefined>;
  /** Keeps an account. A stored one is only ever added to: another key is refused, see `retireAccount`. */
  saveAccount(directoryUrl: string, account: StoredAccount): Promise<void>;
  /** Sets an account aside that the CA does not take any more, so that another can be saved. */
  retireAccount(directoryUrl: string): Promise<void>;
  /** The answer to an HTTP-01 challenge (RFC 8555 §8.3), whichever process on this store ordered. */
  challenge(token: string): Promise<string | undefined>;
  saveChallenge(token: string, keyAuthorization: string): Promise<void>;
  dropChallenge(token: string): Promise<void>;
  /**
   * Waits for a lock, which its holder keeps for as long as it lives. A dead holder's is taken over.
   * Whoever gets it must look again whether the work is still needed.
   *
   * @throws the signal's reason when it is aborted first
   */
  lock(name: string, signal?: AbortSignal): Promise<StoreLock>;
}

export interface StoreOptions {
  /** Told what was put right or set aside. */
  log?: Log;
}

/** Opens the store of a directory, `<data directory>/tls`; nothing is read or written before it is used. */
export function openStore(_dir: string, _clock: Clock, _options: StoreOptions = {}): CertificateStore {
  throw new Error("Not there yet");
}
