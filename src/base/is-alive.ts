import { errorCode } from "./errors.ts";

/** Whether there is a process of this number. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // It lives, and belongs to another user.
    return errorCode(error) === "EPERM";
  }
}
