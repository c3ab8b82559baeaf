import { join } from "node:path";
import type { z } from "zod";
import type { Clock } from "../../base/clock.ts";
import { errorCode, Problem } from "../../base/errors.ts";
import { silentLog, type Log } from "../../base/log.ts";
import {
  ensureFolder,
  proveWritable,
  readIfThere,
  writeNew,
  writeWhole,
  type WriteTools,
} from "./atomic-file.ts";
import { CertificateFiles } from "./certificate-files.ts";
import type { KeyPair } from "../certificate.ts";
import { domainFolder, folderDomain, safeFileName } from "./file-name.ts";
import { systemFiles, type FileOperations } from "./file-operations.ts";
import { fileProblem } from "./file-problem.ts";
import { acquireLock, LOCK_TIMING, type LockTiming, type StoreLock } from "./lock.ts";
import { thisProcess, type ProcessIdentity } from "./process-identity.ts";
import { asideName, setAside } from "./set-aside.ts";
import { tidyStore } from "./tidying.ts";
import {
  accountSchema,
  orderSchema,
  stateSchema,
  type AccountFile,
  type CertificateState,
  type PendingOrder,
  type StoredAccount,
} from "./values.ts";

export type { StoreLock } from "./lock.ts";
export type { CertificateState, PendingOrder, StoredAccount } from "./values.ts";

/**
 * Certificates, keys and what goes with them, in files. Several processes can use one store. Every write
 * is whole or not at all, whenever the process ends; every failure is a `Problem` that names the file.
 * A domain is taken in any spelling that `parseDomain` takes, and refused as there.
 */
export interface CertificateStore {
  /** Proves that files can be written here, enough of them, before an order is spent. */
  prove(): Promise<void>;
  /** Domains that have a folder, in alphabetical order; some may have no certificate yet. */
  domains(): Promise<string[]>;
  certificate(domain: string): Promise<KeyPair | undefined>;
  saveCertificate(domain: string, pair: KeyPair): Promise<void>;
  /** Forgets a certificate with its key, after its revocation for one. */
  dropCertificate(domain: string): Promise<void>;
  state(domain: string): Promise<CertificateState>;
  saveState(domain: string, state: CertificateState): Promise<void>;
  pendingOrder(domain: string): Promise<PendingOrder | undefined>;
  savePendingOrder(domain: string, order: PendingOrder): Promise<void>;
  dropPendingOrder(domain: string): Promise<void>;
  account(directoryUrl: string): Promise<StoredAccount | undefined>;
  /** Keeps an account. One with another key than the stored one's is refused: see `retireAccount`. */
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
  /** For tests: what stops or fails where the system would. */
  files?: FileOperations;
  process?: ProcessIdentity;
  lockTiming?: LockTiming;
}

/** No domain has a "_", so these are no domain's. */
const ACCOUNTS = "_accounts";
const CHALLENGES = "_challenges";
const LOCKS = "_locks";

/** What a certificate with its chain, key and order take, and some more. */
const PROBE_BYTES = 64 * 1024;
/** RFC 8555 §8.1: base64url. Its length is a CA's choice, and no path's. */
const TOKEN = /^[A-Za-z0-9_-]{1,512}$/;

/** Opens the store of a directory, `<data directory>/tls`; nothing is read or written before it is used. */
export function openStore(dir: string, clock: Clock, options: StoreOptions = {}): CertificateStore {
  return new FileStore(dir, clock, options);
}

class FileStore implements CertificateStore {
  readonly #dir: string;
  readonly #log: Log;
  readonly #tools: WriteTools;
  readonly #lockTiming: LockTiming;
  readonly #certificates = new Map<string, CertificateFiles>();
  #tidied: Promise<void> | undefined;

  constructor(dir: string, clock: Clock, options: StoreOptions) {
    this.#dir = dir;
    this.#log = options.log ?? silentLog;
    this.#tools = { files: options.files ?? systemFiles, clock, owner: options.process ?? thisProcess() };
    this.#lockTiming = options.lockTiming ?? LOCK_TIMING;
  }

  async prove(): Promise<void> {
    await this.#tidy();
    await proveWritable(this.#tools, this.#dir, PROBE_BYTES);
    for (const name of [ACCOUNTS, CHALLENGES, LOCKS]) {
      await ensureFolder(this.#tools.files, join(this.#dir, name));
    }
  }

  async domains(): Promise<string[]> {
    await this.#tidy();
    const found: string[] = [];
    for (const name of await this.#list(this.#dir)) {
      const domain = folderDomain(name);
      if (domain !== undefined && (await this.#isFolder(join(this.#dir, name)))) found.push(domain);
    }
    return found.sort();
  }

  async certificate(domain: string): Promise<KeyPair | undefined> {
    await this.#tidy();
    return await this.#certificateFiles(domain).read();
  }

  async saveCertificate(domain: string, pair: KeyPair): Promise<void> {
    await this.#tidy();
    await this.#certificateFiles(domain).write(pair);
  }

  async dropCertificate(domain: string): Promise<void> {
    await this.#certificateFiles(domain).remove();
  }

  async state(domain: string): Promise<CertificateState> {
    const known = await this.#readOrSetAside(this.#path(domain, "state.json"), stateSchema);
    return known ?? { failures: 0 };
  }

  async saveState(domain: string, state: CertificateState): Promise<void> {
    await this.#writeJson(this.#path(domain, "state.json"), state);
  }

  async pendingOrder(domain: string): Promise<PendingOrder | undefined> {
    return await this.#readOrSetAside(this.#path(domain, "order.json"), orderSchema);
  }

  async savePendingOrder(domain: string, order: PendingOrder): Promise<void> {
    await this.#writeJson(this.#path(domain, "order.json"), order);
  }

  async dropPendingOrder(domain: string): Promise<void> {
    await this.#remove(this.#path(domain, "order.json"));
  }

  async account(directoryUrl: string): Promise<StoredAccount | undefined> {
    await this.#tidy();
    const path = this.#accountPath(directoryUrl);
    const text = await readIfThere(this.#tools.files, path);
    if (text === undefined) return undefined;
    const file = parsed(text, accountSchema);
    if (file === undefined || file.directoryUrl !== directoryUrl) {
      throw new Problem(`Cannot read the account in "${path}": the file is damaged`, {
        action: "Restore it from a backup, or move it away; another account is then made at the CA",
      });
    }
    const { directoryUrl: _, ...account } = file;
    return account;
  }

  async saveAccount(directoryUrl: string, account: StoredAccount): Promise<void> {
    const path = this.#accountPath(directoryUrl);
    const file: AccountFile = { directoryUrl, ...account };
    const text = jsonText(file);
    // The first one is never put over another, should two processes save at the same time.
    if ((await this.account(directoryUrl)) === undefined && (await writeNew(this.#tools, path, text))) return;
    const known = await this.account(directoryUrl);
    if (known !== undefined && known.keyPem.trim() !== account.keyPem.trim()) {
      throw new Problem(`Cannot save the account in "${path}": the file holds another account's key`, {
        action: `Move the file away if the account is not needed any more`,
      });
    }
    await writeWhole(this.#tools, path, text);
  }

  async retireAccount(directoryUrl: string): Promise<void> {
    const path = this.#accountPath(directoryUrl);
    try {
      await this.#tools.files.rename(path, asideName(this.#tools, path, "retired"));
    } catch (cause) {
      if (errorCode(cause) !== "ENOENT") throw fileProblem("change", path, cause);
    }
  }

  async challenge(token: string): Promise<string | undefined> {
    if (!TOKEN.test(token)) return undefined;
    const text = (await readIfThere(this.#tools.files, this.#challengePath(token)))?.trimEnd();
    return text?.startsWith(`${token}.`) ? text : undefined;
  }

  async saveChallenge(token: string, keyAuthorization: string): Promise<void> {
    if (!TOKEN.test(token) || !keyAuthorization.startsWith(`${token}.`)) {
      throw new Problem(`Cannot answer the challenge: ${JSON.stringify(token.slice(0, 80))} is no token`, {
        action: "Tell the CA's operators: the token must be base64url (RFC 8555 §8.1)",
      });
    }
    await this.#tidy();
    await writeWhole(this.#tools, this.#challengePath(token), `${keyAuthorization}\n`);
  }

  async dropChallenge(token: string): Promise<void> {
    if (TOKEN.test(token)) await this.#remove(this.#challengePath(token));
  }

  async lock(name: string, signal?: AbortSignal): Promise<StoreLock> {
    return await acquireLock(this.#tools, join(this.#dir, LOCKS), name, signal, this.#lockTiming);
  }

  /** Once, and before anything is written. */
  async #tidy(): Promise<void> {
    this.#tidied ??= tidyStore(this.#tools, this.#log, this.#dir, join(this.#dir, CHALLENGES));
    await this.#tidied;
  }

  #path(domain: string, name: string): string {
    return join(this.#dir, domainFolder(domain), name);
  }

  #accountPath(directoryUrl: string): string {
    return join(this.#dir, ACCOUNTS, `${safeFileName(directoryUrl)}.json`);
  }

  #challengePath(token: string): string {
    return join(this.#dir, CHALLENGES, safeFileName(token));
  }

  #certificateFiles(domain: string): CertificateFiles {
    const folder = join(this.#dir, domainFolder(domain));
    const known = this.#certificates.get(folder) ?? new CertificateFiles(this.#tools, this.#log, folder);
    this.#certificates.set(folder, known);
    return known;
  }

  async #readOrSetAside<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
    await this.#tidy();
    const text = await readIfThere(this.#tools.files, path);
    if (text === undefined) return undefined;
    const value = parsed(text, schema);
    if (value === undefined) await setAside(this.#tools, this.#log, path, "is damaged");
    return value;
  }

  async #writeJson(path: string, value: object): Promise<void> {
    await this.#tidy();
    await writeWhole(this.#tools, path, jsonText(value));
  }

  async #remove(path: string): Promise<void> {
    try {
      await this.#tools.files.remove(path);
    } catch (cause) {
      throw fileProblem("change", path, cause);
    }
  }

  async #list(path: string): Promise<string[]> {
    try {
      return await this.#tools.files.list(path);
    } catch (cause) {
      if (errorCode(cause) === "ENOENT") return [];
      throw fileProblem("read", path, cause);
    }
  }

  async #isFolder(path: string): Promise<boolean> {
    try {
      return (await this.#tools.files.stat(path)).isFolder;
    } catch {
      return false;
    }
  }
}

const jsonText = (value: object): string => `${JSON.stringify(value, undefined, 2)}\n`;

function parsed<T>(text: string, schema: z.ZodType<T>): T | undefined {
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
