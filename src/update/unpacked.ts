import type { FileHandle } from "node:fs/promises";

/** An archive that is no archive, or none of ours; the message ends the sentence "Cannot unpack …". */
export class UnpackError extends Error {
  override readonly name = "UnpackError";
}

/** A path in an archive, which has to stay below the folder that it is unpacked in; empty for that folder itself. */
export function safeName(name: string): string {
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (name.startsWith("/") || parts.includes("..") || /[\\:\0]/.test(name))
    throw new UnpackError("it holds a path that leads out of it");
  return parts.join("/");
}

/** A write may take less than it is given. */
export async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at, bytes.length - at)).bytesWritten;
}
