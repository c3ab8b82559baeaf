import { createHash } from "node:crypto";
import { parseDomain } from "../domain-name.ts";

/** Names that Windows keeps for devices, whatever ending follows. */
const DEVICE = /^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)/;

/** The folder of a domain. No domain has a "_", so this is no other domain's. @throws {Problem} */
export function domainFolder(domain: string): string {
  const name = parseDomain(domain);
  return DEVICE.test(name) ? `_${name}` : name;
}

/** The domain of a folder; `undefined` if it is none's. */
export function folderDomain(folder: string): string | undefined {
  const name = folder.replace(/^_/, "");
  try {
    return domainFolder(name) === folder ? name : undefined;
  } catch {
    return undefined;
  }
}

/**
 * A file name for any text, on every file system: readable as far as it can be, and told apart by a part
 * of its hash also where upper and lower case are the same.
 */
export function safeFileName(text: string): string {
  const readable = text
    .toLowerCase()
    .replace(/^[a-z]+:\/\//, "")
    .replace(/[^a-z0-9.]+/g, "-")
    .replace(/^[.-]+|[.-]+$/g, "")
    .slice(0, 80);
  const hash = createHash("sha256").update(text).digest("hex").slice(0, 12);
  return `${readable || "name"}-${hash}`;
}
