import { createWriteStream, mkdirSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { pipeline } from "node:stream/promises";
import { errorCode } from "../base/errors.ts";

/** Several times what a release has; what is more is no release. */
export const MAX_UNPACKED = 1024 * 1024 * 1024;

/** An archive that is no archive, or none of ours; the message ends the sentence "Cannot unpack …". */
export class UnpackError extends Error {
  override readonly name = "UnpackError";
}

/** What the system says of a name that is too long, or that is there already, perhaps as something else. */
const NAMES = new Set(["ENAMETOOLONG", "EEXIST", "ENOTDIR", "EISDIR"]);

/** What tar-stream and yauzl say of an archive has no code; what the system and the decompression say has one. */
export function asRefusal(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof UnpackError) return error;
  if (NAMES.has(errorCode(error) ?? ""))
    return new UnpackError("a name in it is too long, or there twice", { cause: error });
  if ("code" in error) return error;
  return new UnpackError("it is damaged", { cause: error });
}

/** A path in an archive, which has to stay below the folder that it is unpacked in; empty for that folder itself. */
export function safeName(name: string): string {
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (name.startsWith("/") || parts.includes("..") || /[\\:\0]/.test(name))
    throw new UnpackError("it holds a path that leads out of it");
  return parts.join("/");
}

/** Writes a file of an archive, and its folders; nothing may be in its place. */
export async function writeEntry(path: string, mode: number, content: AsyncIterable<Buffer>): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  await pipeline(content, createWriteStream(path, { flags: "wx", mode }));
}

/** A write may take less than it is given. */
export async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at, bytes.length - at)).bytesWritten;
}
