import { messageOf, Problem, UsageError } from "../base/errors.ts";
import { checkAuthorities } from "../base/trusted-roots.ts";
import { readText } from "./config-file.ts";

/**
 * Reads certificates of authorities that are to be trusted.
 *
 * @param flag without dashes
 * @param origin where the path came from, in words that finish "(…)"
 * @returns PEM
 * @throws {UsageError} if the file cannot be read, or holds no usable certificate
 */
export function readAuthorities(path: string, flag: string, origin: string): string {
  const pem = readText(path, `file of ${flag}`, origin);
  try {
    checkAuthorities(pem, `"${path}" as ${flag} (${origin})`);
    return pem;
  } catch (cause) {
    const action = cause instanceof Problem ? cause.action : undefined;
    throw new UsageError(messageOf(cause), { ...(action !== undefined && { action }), cause });
  }
}
