import { readFile, readlink, stat } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { errorCode, messageOf, Problem } from "../base/errors.ts";
import type { KeyPair } from "./certificate.ts";

export interface PairPaths {
  /** PEM: the certificate, then its intermediates. */
  certFile: string;
  /** PEM: its private key, without a passphrase. */
  keyFile: string;
}

/** A chain has a few KiB; what is larger is another file. */
const MAX_BYTES = 1024 * 1024;

/** Changes with the files, links on the way to them included. @throws {Problem} if one cannot be looked at */
export async function signatureOf({ certFile, keyFile }: PairPaths): Promise<string> {
  return [await look("certificate", certFile), await look("key", keyFile)]
    .map(({ dev, ino, size, mtimeNs, ctimeNs }) => [dev, ino, size, mtimeNs, ctimeNs].join(":"))
    .join(" ");
}

/** @throws {Problem} if one cannot be read */
export async function readPairFiles({ certFile, keyFile }: PairPaths): Promise<KeyPair> {
  return { chainPem: await read("certificate", certFile), keyPem: await read("key", keyFile) };
}

type Role = "certificate" | "key";

const OPTION: Record<Role, string> = { certificate: "--tls-cert", key: "--tls-key" };
const USUAL: Record<Role, string> = { certificate: "fullchain.pem", key: "privkey.pem" };

async function look(role: Role, path: string) {
  try {
    return await stat(path, { bigint: true });
  } catch (error) {
    throw await explain(role, path, error);
  }
}

async function read(role: Role, path: string): Promise<string> {
  const found = await look(role, path);
  if (found.isDirectory()) {
    throw new Problem(`Cannot read the ${role} "${path}": it is a folder`, {
      action: `Name the file in it, such as ${OPTION[role]} ${join(path, USUAL[role])}`,
    });
  }
  // A pipe would be read once, and never end or never again.
  if (!found.isFile()) {
    throw new Problem(`Cannot read the ${role} "${path}": it is no regular file`, {
      action: `Give a file that stays where it is with ${OPTION[role]}`,
    });
  }
  if (found.size > MAX_BYTES) {
    throw new Problem(
      `Cannot read the ${role} "${path}": it has ${found.size} bytes, which is too much for one`,
      {
        action: `Give a PEM file with ${OPTION[role]}, such as ${USUAL[role]}`,
      },
    );
  }
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw await explain(role, path, error);
  }
}

async function explain(role: Role, path: string, error: unknown): Promise<Problem> {
  const say = (why: string, action: string) =>
    new Problem(`Cannot read the ${role} "${path}": ${why}`, { action, cause: error });
  switch (errorCode(error) ?? "") {
    case "ENOENT":
    case "ENOTDIR": {
      const target = await readlink(path).catch(() => undefined);
      return target === undefined
        ? say("there is no such file", `Correct ${OPTION[role]}, or have the certificate issued first`)
        : say(
            `it is a link to "${target}", where nothing is`,
            "Have the certificate issued again, or mend the link",
          );
    }
    case "EACCES":
    case "EPERM":
      return say(
        `${userText()} may not read it`,
        `Let the user read the file and enter all folders above it; certbot keeps live/ and archive/ for root alone, so give them a group: chgrp -R GROUP and chmod g+rX`,
      );
    case "ELOOP":
      return say("its links go in a circle", `Give the file itself with ${OPTION[role]}`);
    default:
      return say(messageOf(error), `Look at the file, or give another with ${OPTION[role]}`);
  }
}

function userText(): string {
  try {
    return `the user "${userInfo().username}"`;
  } catch {
    // A container's user has no name in it.
    return `the user ${process.getuid?.() ?? ""}`;
  }
}
