import { join } from "node:path";
import { Problem } from "../../base/errors.ts";
import { certificateBlocks } from "../../base/pem.ts";
import { readIfThere, writeWhole, type WriteTools } from "./atomic-file.ts";
import { pairMatches, type KeyPair } from "../certificate.ts";
import type { Log } from "../../base/log.ts";
import { plainPair } from "../pem.ts";
import { setAside } from "./set-aside.ts";

/** Key and chain in one file, so that they change together; HAProxy reads it as it is. */
const COMBINED = "combined.pem";
/** The same in two files, for programs that want them so; written after the one that counts. */
const CHAIN = "fullchain.pem";
const KEY = "privkey.pem";

/**
 * The certificate of one domain in its folder. `combined.pem` counts; the other two follow it, and are put
 * right when they do not, because the process may end between the writes.
 */
export class CertificateFiles {
  readonly #tools: WriteTools;
  readonly #log: Log;
  readonly #folder: string;
  /** The content of `combined.pem` that the copies are known to agree with. */
  #agreed: string | undefined;

  constructor(tools: WriteTools, log: Log, folder: string) {
    this.#tools = tools;
    this.#log = log;
    this.#folder = folder;
  }

  /** @throws {Problem} if the files cannot be read */
  async read(): Promise<KeyPair | undefined> {
    const text = await readIfThere(this.#tools.files, this.#path(COMBINED));
    const pair = text === undefined ? undefined : matchingPair(text);
    if (text !== undefined && pair !== undefined) {
      if (text !== this.#agreed) await this.#copy(text, pair);
      return pair;
    }
    const copies = await this.#readCopies();
    if (text !== undefined) {
      await setAside(this.#tools, this.#log, this.#path(COMBINED), "is no certificate with its key");
    }
    if (copies === undefined) return undefined;
    this.#log.warn(`Took the certificate from "${this.#path(CHAIN)}" and "${this.#path(KEY)}"`);
    await this.write(copies);
    return copies;
  }

  /** @throws {Problem} if the pair does not match, or cannot be written */
  async write(pair: KeyPair): Promise<void> {
    if (!pairMatches(pair)) {
      throw new Problem(`Cannot keep a certificate in "${this.#folder}": the key does not belong to it`, {
        action: "Give the certificate and the key that were made together",
      });
    }
    const whole = plainPair(pair);
    const text = whole.keyPem + whole.chainPem;
    await writeWhole(this.#tools, this.#path(COMBINED), text);
    await this.#copy(text, whole);
  }

  /** Removes the certificate and its key. @throws {Problem} */
  async remove(): Promise<void> {
    // The copies first: alone, they would be taken for a certificate to be restored.
    for (const name of [KEY, CHAIN, COMBINED]) await this.#tools.files.remove(this.#path(name));
    this.#agreed = undefined;
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  async #readCopies(): Promise<KeyPair | undefined> {
    const chain = await readIfThere(this.#tools.files, this.#path(CHAIN));
    const key = await readIfThere(this.#tools.files, this.#path(KEY));
    return chain === undefined || key === undefined ? undefined : matchingPair(key + chain);
  }

  /** The relay does without the copies, so a failure is told and no more. */
  async #copy(text: string, pair: KeyPair): Promise<void> {
    const { files } = this.#tools;
    try {
      for (const [name, content] of [
        [KEY, pair.keyPem],
        [CHAIN, pair.chainPem],
      ] as const) {
        if ((await readIfThere(files, this.#path(name))) !== content) {
          await writeWhole(this.#tools, this.#path(name), content);
        }
      }
      this.#agreed = text;
    } catch (thrown) {
      if (!(thrown instanceof Problem)) throw thrown;
      this.#log.warn(`${thrown.message}; programs that read this copy have an old one`);
    }
  }
}

/** `undefined` unless the text holds a key and the chain that belongs to it, whole. */
function matchingPair(text: string): KeyPair | undefined {
  const begun = text.match(/-----BEGIN CERTIFICATE-----/g)?.length ?? 0;
  // One that is cut off within the first line of its second certificate has begun none that is not whole.
  const isWhole = begun === certificateBlocks(text).length && /-----END [A-Z ]+-----\s*$/.test(text);
  const pair = plainPair({ chainPem: text, keyPem: text });
  return isWhole && pairMatches(pair) ? pair : undefined;
}
