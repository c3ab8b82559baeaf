import { errorCode, messageOf, Problem } from "../../base/errors.ts";

interface Reason {
  why: string;
  action: string;
}

const ELSEWHERE = "or name another directory with --data-dir";

const REASONS: Record<string, Reason> = {
  ENOSPC: { why: "the disk is full", action: `Free space on it, ${ELSEWHERE}` },
  EDQUOT: { why: "this user's quota is used up", action: `Raise the quota or free space, ${ELSEWHERE}` },
  EROFS: {
    why: "the file system is mounted read-only",
    action: `Mount it writable (a systemd unit needs ReadWritePaths=), ${ELSEWHERE}`,
  },
  ENOTDIR: { why: "a file stands where a folder is needed", action: `Move that file away, ${ELSEWHERE}` },
  EISDIR: { why: "a folder stands where a file is needed", action: `Move that folder away, ${ELSEWHERE}` },
  EIO: { why: "the disk reports an error", action: `Look at the system's log for the disk, ${ELSEWHERE}` },
  EMFILE: {
    why: "this process has too many files open",
    action: "Raise its limit (ulimit -n, or LimitNOFILE= of the systemd unit)",
  },
  ENAMETOOLONG: { why: "the path is too long", action: "Name a shorter directory with --data-dir" },
};

/** Says what could not be done with a file, and what to do about it. A `Problem` stays as it is. */
export function fileProblem(doing: "read" | "write" | "change", path: string, cause: unknown): Problem {
  if (cause instanceof Problem) return cause;
  const code = errorCode(cause) ?? "";
  const { why, action } =
    code === "EACCES" || code === "EPERM"
      ? noRights()
      : (REASONS[code] ?? {
          why: messageOf(cause),
          action: `Mend what stands in the way, ${ELSEWHERE}`,
        });
  return new Problem(`Cannot ${doing} "${path}": ${why}`, { action, cause });
}

function noRights(): Reason {
  const uid = process.getuid?.();
  const who = uid === undefined ? "this user" : `the user with id ${uid}`;
  return {
    why: `${who} may not do that there`,
    action: `Give the directory to the user who runs the relay, ${ELSEWHERE}`,
  };
}
