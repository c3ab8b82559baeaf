import { errorCode, messageOf } from "../../base/errors.ts";
import type { Dialect } from "./database.ts";
import { StoreError, type StoreErrorCode } from "./store-error.ts";

interface Kind {
  code: StoreErrorCode;
  why: string;
  action: string;
}

const BACKUP =
  "Put a backup in its place (modelrelay db backup makes them); to begin anew, move the file away and lose keys and usage";
const LOOK_AT_SERVER = "Look at PostgreSQL's log; the relay comes back to it by itself";

/** By SQLite's result code, the longest name first (https://sqlite.org/rescode.html), or the system's. */
const FILE_KINDS: readonly [prefix: string, kind: Kind][] = [
  [
    "SQLITE_BUSY",
    {
      code: "store_timeout",
      why: "another process has kept it locked",
      action: "Find the process that holds it (fuser, lsof), and end what it does there",
    },
  ],
  [
    "SQLITE_FULL",
    { code: "store_full", why: "no room is left for it", action: "Free space on the disk that it is on" },
  ],
  ["SQLITE_CORRUPT", { code: "store_corrupt", why: "its pages are damaged", action: BACKUP }],
  ["SQLITE_NOTADB", { code: "store_corrupt", why: "it is not a SQLite database", action: BACKUP }],
  [
    "SQLITE_READONLY",
    {
      code: "store_readonly",
      why: "it may not be written",
      action:
        "Give the file and its directory to the user who runs the relay, on a file system mounted writable",
    },
  ],
  [
    "SQLITE_CANTOPEN",
    {
      code: "store_refused",
      why: "it cannot be opened",
      action: "Give the file and its directory to the user who runs the relay",
    },
  ],
  [
    "SQLITE_IOERR",
    {
      code: "store_unavailable",
      why: "the disk reports an error",
      action: "Look at the system's log for the disk",
    },
  ],
  [
    "SQLITE_CONSTRAINT",
    { code: "store_conflict", why: "what is to be written is there already", action: "" },
  ],
];

const SYSTEM_KINDS: Record<string, Kind> = {
  ENOSPC: {
    code: "store_full",
    why: "no room is left for it",
    action: "Free space on the disk that it is on",
  },
  EDQUOT: {
    code: "store_full",
    why: "this user's quota is used up",
    action: "Raise the quota or free space",
  },
  EROFS: {
    code: "store_readonly",
    why: "the file system is mounted read-only",
    action:
      "Mount it writable (a systemd unit needs ReadWritePaths=), or name another directory with --data-dir",
  },
  EACCES: noRights(),
  EPERM: noRights(),
  ENOTDIR: fileInTheWay(),
  EEXIST: fileInTheWay(),
};

function noRights(): Kind {
  return {
    code: "store_refused",
    why: "this user may not do that there",
    action: "Give the directory to the user who runs the relay, or name another one with --data-dir",
  };
}

function fileInTheWay(): Kind {
  return {
    code: "store_refused",
    why: "a file stands where a folder is needed",
    action: "Move that file away, or name another directory with --data-dir",
  };
}

/** By SQLSTATE or its class, the longest first (https://www.postgresql.org/docs/current/errcodes-appendix.html). */
const SERVER_KINDS: readonly [prefix: string, kind: Kind][] = [
  ["57014", { code: "store_timeout", why: "it took too long over a statement", action: LOOK_AT_SERVER }],
  ["55P03", { code: "store_timeout", why: "another connection kept a lock", action: LOOK_AT_SERVER }],
  ["40", { code: "store_timeout", why: "other transactions stood in the way", action: LOOK_AT_SERVER }],
  ["53100", { code: "store_full", why: "its disk is full", action: "Free space on the disk of PostgreSQL" }],
  ["53", { code: "store_unavailable", why: "it has no resources left", action: LOOK_AT_SERVER }],
  ["57P", { code: "store_unavailable", why: "it is starting or stopping", action: LOOK_AT_SERVER }],
  ["08", { code: "store_unavailable", why: "the connection failed", action: LOOK_AT_SERVER }],
  [
    "25006",
    { code: "store_readonly", why: "it may only be read", action: "Name the primary server in DATABASE_URL" },
  ],
  [
    "28",
    {
      code: "store_refused",
      why: "it does not let this user in",
      action: "Check user and password in DATABASE_URL, and the server's pg_hba.conf",
    },
  ],
  [
    "3D000",
    {
      code: "store_refused",
      why: "there is no such database",
      action: "Make it with createdb, or correct DATABASE_URL",
    },
  ],
  [
    "42501",
    {
      code: "store_refused",
      why: "its user lacks a right",
      action: "Make the user of DATABASE_URL the owner of the database",
    },
  ],
  [
    "42P07",
    {
      code: "store_refused",
      why: "it holds tables of the same names that are not modelrelay's",
      action: "Give modelrelay a database of its own",
    },
  ],
  ["XX00", { code: "store_corrupt", why: "it says that its data are damaged", action: LOOK_AT_SERVER }],
  ["23505", { code: "store_conflict", why: "what is to be written is there already", action: "" }],
];

const NOT_REACHED: Kind = {
  code: "store_unavailable",
  why: "it cannot be reached",
  action: "Check that PostgreSQL runs and that DATABASE_URL is right; the relay comes back to it by itself",
};

function propertyOf(thrown: unknown, name: string): unknown {
  return thrown instanceof Error ? (thrown as unknown as Record<string, unknown>)[name] : undefined;
}

function kindOf(thrown: unknown, dialect: Dialect): Kind | undefined {
  const code = errorCode(thrown) ?? "";
  if (dialect === "sqlite") {
    return FILE_KINDS.find(([prefix]) => code.startsWith(prefix))?.[1] ?? SYSTEM_KINDS[code];
  }
  const state = propertyOf(thrown, "errno");
  if (code === "ERR_POSTGRES_SERVER_ERROR" && typeof state === "string")
    return SERVER_KINDS.find(([prefix]) => state.startsWith(prefix))?.[1];
  // What the client says itself is about the connection: refused, closed, timed out, TLS, no such host.
  return code.startsWith("ERR_POSTGRES_") || SYSTEM_KINDS[code] !== undefined ? NOT_REACHED : undefined;
}

/** Words whatever a database threw. The text of an unforeseen error is kept; a known one is named by its kind. */
export function storeErrorOf(thrown: unknown, dialect: Dialect, location: string): StoreError {
  if (thrown instanceof StoreError) return thrown;
  const kind = kindOf(thrown, dialect);
  const said = messageOf(thrown);
  if (kind === undefined)
    return new StoreError("store_failed", `Cannot use the database "${location}": ${said}`, {
      cause: thrown,
    });
  const { code, why, action } = kind;
  return new StoreError(code, `Cannot use the database "${location}": ${why} (${said})`, {
    ...(action !== "" && { action }),
    cause: thrown,
  });
}

/** Whether the same work may succeed in a moment: another process writes, or two transactions met. */
export function isBusy(thrown: unknown): boolean {
  if ((errorCode(thrown) ?? "").startsWith("SQLITE_BUSY")) return true;
  const state = propertyOf(thrown, "errno");
  return state === "40001" || state === "40P01";
}
