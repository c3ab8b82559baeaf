import { AcmeSession, newKey } from "./session.ts";
import { readDirectory } from "./directory.ts";
import { caName } from "./transport.ts";
import type { AcmeOptions } from "./types.ts";
import type { CertificateStore, StoredAccount } from "../store/store.ts";

/** Every domain of a store has the same account, so whoever registers it holds this lock; no domain has a "_". */
const ACCOUNT_LOCK = "_account";

/**
 * Opens a session with the store's account at the CA, which is registered if there is none yet. Its key
 * is in the store before the CA hears of it: a kill in between finds the same account again.
 *
 * @throws {AcmeError} or {Problem} if that fails; the signal's reason if it is aborted
 */
export async function openSession(
  store: CertificateStore,
  options: AcmeOptions,
  signal: AbortSignal,
): Promise<AcmeSession> {
  const route = { caPem: options.caPem, clock: options.clock, signal };
  const directory = await readDirectory(options.directoryUrl, route);
  const stored = await store.account(options.directoryUrl);
  if (stored !== undefined && isComplete(stored, options))
    return new AcmeSession(directory, stored, options, signal);

  await using lock = await store.lock(ACCOUNT_LOCK, signal);
  let account = await store.account(options.directoryUrl);
  if (account !== undefined && isOtherBinding(account, options)) {
    options.log.info("Opening another account at the CA, as the binding has changed", {
      ca: caName(options.directoryUrl),
    });
    await store.retireAccount(options.directoryUrl);
    account = undefined;
  }
  if (account === undefined) {
    account = { keyPem: await newKey(), ...described(options) };
    await store.saveAccount(options.directoryUrl, account);
  }
  const session = new AcmeSession(directory, account, options, AbortSignal.any([signal, lock.lost]));
  if (account.accountUrl === undefined) {
    const accountUrl = await session.register();
    await store.saveAccount(options.directoryUrl, { ...account, ...described(options), accountUrl });
    options.log.info("Opened an account at the CA", {
      ca: caName(options.directoryUrl),
      account: accountUrl,
    });
  } else if (!isComplete(account, options)) {
    await session.updateContact();
    await store.saveAccount(options.directoryUrl, { ...account, ...described(options) });
  }
  const registered = await store.account(options.directoryUrl);
  // This one gives up with the caller's signal alone: the lock ends here.
  return new AcmeSession(directory, registered ?? account, options, signal);
}

/** Sets an account aside that the CA does not take any more. Another process may have done so already. */
export async function retireAccount(
  session: AcmeSession,
  store: CertificateStore,
  signal: AbortSignal,
): Promise<void> {
  const { directoryUrl, log } = session.options;
  await using lock = await store.lock(ACCOUNT_LOCK, signal);
  const stored = await store.account(directoryUrl);
  if (stored === undefined || stored.keyPem.trim() !== session.accountKeyPem.trim()) return;
  lock.lost.throwIfAborted();
  log.warn("The CA does not take the account any more; another one is opened", { ca: caName(directoryUrl) });
  await store.retireAccount(directoryUrl);
}

function described({ email, eab }: AcmeOptions): Pick<StoredAccount, "email" | "eabKid"> {
  return { ...(email === undefined ? {} : { email }), ...(eab === undefined ? {} : { eabKid: eab.kid }) };
}

/** An account stays bound when the binding is no longer given. */
function isOtherBinding(account: StoredAccount, { eab }: AcmeOptions): boolean {
  return eab !== undefined && account.eabKid !== eab.kid;
}

function isComplete(account: StoredAccount, options: AcmeOptions): boolean {
  const sameEmail = options.email === undefined || options.email === account.email;
  return account.accountUrl !== undefined && sameEmail && !isOtherBinding(account, options);
}
