import { errorCode, messageOf, Problem } from "../base/errors.ts";

/** By its number: a process may run under one that has no name. */
function user(): string {
  const id = process.getuid?.();
  return id === undefined ? "this user" : `the user with id ${id}`;
}

/** The text of an error of the system without the call and the paths that it ends with. */
function plainMessage(cause: unknown): string {
  return messageOf(cause).replace(/, \w+ '.*$/s, "");
}

/** Says why a file below `folder` could not be written. A `Problem` stays as it is. */
export function fileProblem(what: string, folder: string, cause: unknown): Problem {
  if (cause instanceof Problem) return cause;
  const [why, action] = reasonOf(folder, cause);
  return new Problem(`${what}: ${why}`, { action, cause });
}

function reasonOf(folder: string, cause: unknown): [why: string, action: string] {
  switch (errorCode(cause) ?? "") {
    case "EACCES":
    case "EPERM":
      return [
        `${user()} may not write to ${folder}`,
        "Run it as whoever installed it, as a rule root: sudo modelrelay update",
      ];
    case "EROFS":
      return [
        `the file system of ${folder} is mounted read-only`,
        "Mount it writable, or update the image that it comes from",
      ];
    case "ENOSPC":
      return [`there is no space left in ${folder}`, "Make room (about 250 MB) and try again"];
    case "EDQUOT":
      return [`the quota of ${user()} is used up`, "Raise it or make room (about 250 MB), and try again"];
    default:
      return [plainMessage(cause), `Look at ${folder} and its disk; what was there is unchanged`];
  }
}
