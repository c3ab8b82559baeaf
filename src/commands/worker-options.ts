import { parsePin } from "../base/pin.ts";
import { MAX_CONCURRENCY, MAX_MODEL_NAME, MAX_MODELS, MAX_WORKER_NAME } from "../protocol/limits.ts";
import { defineOptions, type Config } from "./options.ts";
import { configOption, logFormatOption, logLevelOption } from "./shared-options.ts";
import {
  duration,
  httpAddress,
  integer,
  label,
  onOff,
  oneOf,
  path,
  secret,
  splitList,
  textKind,
} from "./value-kinds.ts";

/** A model under the name that clients use and the name that the backend knows; mostly the same. */
export interface ServedName {
  public: string;
  backend: string;
}

/** Which models a worker offers. */
export interface ModelChoice {
  /** Whatever the backend lists, besides `names`. */
  all: boolean;
  names: ServedName[];
}

function servedName(item: string): ServedName | undefined {
  const [publicName = "", backend = publicName, ...rest] = item.split("=").map((part) => part.trim());
  const valid = [publicName, backend].every(
    (name) => name !== "" && name !== "*" && name.length <= MAX_MODEL_NAME && !/\p{Cc}/u.test(name),
  );
  return valid && rest.length === 0 ? { public: publicName, backend } : undefined;
}

export const modelChoice = textKind(
  "*, or model names with commas between them, each a NAME or PUBLIC=BACKEND, none twice",
  (text): ModelChoice | undefined => {
    const items = splitList(text);
    const names = items.filter((item) => item !== "*").map(servedName);
    if (!names.every((name) => name !== undefined) || names.length > MAX_MODELS) return undefined;
    if (new Set(names.map((name) => name.public)).size !== names.length) return undefined;
    return { all: items.includes("*"), names };
  },
);

/** Several, so that a relay can change its key: the next one is named before it is used. */
export const pins = textKind(
  "sha256/ with the 44 characters of base64 after it that the relay prints (not the fingerprint of its certificate), or several with commas between them",
  // It says itself what is wrong with a pin.
  (text): readonly string[] => [...new Set(splitList(text).map(parsePin))],
);

export const workerOptions = defineOptions({
  proxyUrl: {
    env: "PROXY_URL",
    default: "http://127.0.0.1:8080",
    hint: "URL",
    help: "Address of the relay",
    schema: httpAddress,
  },
  workerSecret: {
    env: "WORKER_SECRET",
    secret: true,
    hint: "SECRET",
    help: "Secret of the relay, as it printed it at its start",
    schema: secret,
  },
  caFile: {
    env: "RELAY_CA_FILE",
    hint: "FILE",
    help: "Certificates of authorities in PEM that may vouch for the relay, beside those of the system",
    schema: path,
  },
  pin: {
    env: "RELAY_PIN",
    kind: "list",
    hint: "PIN",
    help: "Key that the relay's certificate must have, as the relay prints it; authorities do not count then",
    schema: pins,
  },
  backendUrl: {
    env: "BACKEND_URL",
    hint: "URL",
    help: "Address of the inference server",
    defaultText: "looked for on this machine: http://127.0.0.1:8000 and the other usual places",
    schema: httpAddress,
  },
  backendApiKey: {
    env: "BACKEND_API_KEY",
    secret: true,
    hint: "KEY",
    help: "Key that the inference server asks for",
    schema: secret,
  },
  models: {
    env: "MODELS",
    kind: "list",
    default: "*",
    hint: "NAMES",
    help: "Models to offer: * for all that the backend lists, or a,b; public=backend offers one under another name",
    schema: modelChoice,
  },
  maxConcurrency: {
    env: "MAX_CONCURRENCY",
    default: "1",
    hint: "NUMBER",
    help: "Requests given to the backend at once",
    schema: integer(1, MAX_CONCURRENCY),
  },
  workerName: {
    env: "WORKER_NAME",
    default: ({ hostname }) => hostname.slice(0, MAX_WORKER_NAME) || "worker",
    defaultText: "the name of this machine",
    hint: "NAME",
    help: "Name of this worker in listings and logs",
    schema: label(MAX_WORKER_NAME),
  },
  provider: {
    env: "PROVIDER_NAME",
    default: "local",
    hint: "NAME",
    help: "Provider that this worker belongs to",
    schema: label(MAX_WORKER_NAME),
  },
  linkVersion: {
    env: "LINK_VERSION",
    default: "auto",
    hint: "VERSION",
    help: "Newest version of the link to the relay; auto for the newest that both ends speak",
    schema: oneOf(["auto", "v1"]),
  },
  compress: {
    env: "LINK_COMPRESS",
    kind: "switch",
    default: "false",
    help: "Compress what goes to the relay and comes from it, for a slow line; costs time of the processor",
    schema: onOff,
  },
  firstByteTimeoutMs: {
    flag: "first-byte-timeout",
    env: "FIRST_BYTE_TIMEOUT_SECS",
    default: "0",
    hint: "DURATION",
    help: "Longest wait for the first byte of the backend's answer; 0 for no limit",
    schema: duration,
  },
  idleTimeoutMs: {
    flag: "idle-timeout",
    env: "IDLE_TIMEOUT_SECS",
    default: "0",
    hint: "DURATION",
    help: "Longest silence of the backend within an answer; 0 for no limit",
    schema: duration,
  },
  drainTimeoutMs: {
    flag: "drain-timeout",
    env: "DRAIN_TIMEOUT_SECS",
    default: "30s",
    hint: "DURATION",
    help: "Time that running requests get to finish when the worker is stopped",
    schema: duration,
  },
  check: {
    kind: "switch",
    inFile: false,
    default: "false",
    help: "Try each step from here to a generated token, say what fails, and end",
    schema: onOff,
  },
  logLevel: logLevelOption,
  logFormat: logFormatOption,
  config: configOption("worker"),
});

/** Times in ms. */
export type WorkerConfig = Config<typeof workerOptions>;
