import { dlopen, type FFIFunction } from "bun:ffi";

/** As glibc names itself, then as musl does on the processors that there are builds for. */
const NAMES = ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"];

/**
 * Functions of the C library of a Linux machine, for what the runtime has no call for.
 *
 * @throws {Error} if there is none of a name that is known
 */
export function openLibc<const F extends Record<string, FFIFunction>>(functions: F) {
  for (const [index, name] of NAMES.entries()) {
    try {
      return dlopen(name, functions).symbols;
    } catch (error) {
      if (index === NAMES.length - 1) throw error;
    }
  }
  throw new Error("Cannot open the C library");
}
