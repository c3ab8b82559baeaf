import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  ADMIN_TOKEN,
  FIRST_KEY,
  newAddress,
  startKeyedRelay,
  type KeyedRelay,
} from "../../support/keyed-relay.ts";
import type { RawWorker } from "../../support/raw-worker.ts";
import { SECRET } from "../../support/relays.ts";

const MODEL = "m";

type Dialect = "openai" | "anthropic" | "ollama";

interface Route {
  line: string;
  dialect: Dialect;
  init: () => RequestInit;
  /** What a key for other models is told. */
  otherModel: 403 | 200;
  /** Answered by the relay itself. */
  isOwn?: true;
}

function post(path: string, dialect: Dialect = "openai"): Route {
  const body = JSON.stringify({ model: MODEL, stream: false });
  const headers = { "content-type": "application/json" };
  return { line: `POST ${path}`, dialect, init: () => ({ method: "POST", headers, body }), otherModel: 403 };
}

function get(path: string, dialect: Dialect, otherModel: 403 | 200, more: Partial<Route> = {}): Route {
  return { line: `GET ${path}`, dialect, init: () => ({}), otherModel, ...more };
}

function form(path: string): Route {
  const init = () => {
    const body = new FormData();
    body.set("model", MODEL);
    body.set("file", new File(["sound"], "sound.wav"));
    return { method: "POST", body };
  };
  return { line: `POST ${path} (form)`, dialect: "openai", init, otherModel: 403 };
}

const ROUTES: readonly Route[] = [
  post("/v1/chat/completions"),
  post("/v1/completions"),
  post("/v1/responses"),
  post("/v1/embeddings"),
  post("/v1/rerank"),
  post("/v1/messages", "anthropic"),
  post("/v1/messages/count_tokens", "anthropic"),
  form("/v1/audio/transcriptions"),
  get("/v1/responses/resp_1", "openai", 403),
  get("/v1/files", "openai", 403),
  get("/v1/files?model=m", "openai", 403),
  get("/v1/models", "openai", 200, { isOwn: true }),
  get("/v1/models/m", "openai", 403, { isOwn: true }),
  get("/api/tags", "ollama", 200, { isOwn: true }),
  get("/api/ps", "ollama", 403),
  get("/api/version", "ollama", 403),
  post("/api/chat", "ollama"),
  post("/api/generate", "ollama"),
  post("/api/embed", "ollama"),
  post("/api/embeddings", "ollama"),
  post("/api/show", "ollama"),
];

/** What can be shown instead of a key, and what is said to it. */
const SHOWN: Record<string, { status: number; message: string }> = {
  nothing: { status: 401, message: "No API key was sent" },
  "a wrong key": { status: 401, message: "The API key is wrong" },
  "a wrong key of the right form": { status: 401, message: "The API key is wrong" },
  "a key's prefix": { status: 401, message: "The API key is wrong" },
  "a revoked key": { status: 401, message: "The API key was revoked" },
  "an expired key": { status: 401, message: "The API key has expired" },
  "the relay's worker secret": { status: 401, message: "The API key is wrong" },
  "a named worker secret": { status: 401, message: "The API key is wrong" },
  "the admin token": { status: 401, message: "The API key is wrong" },
};

const FIELDS: readonly [name: string, value: (key: string) => string][] = [
  ["authorization", (key) => `Bearer ${key}`],
  ["x-api-key", (key) => key],
  ["api-key", (key) => key],
];

let keyed: KeyedRelay;
let worker: RawWorker;
const secrets: Record<string, string> = {};
let limited: string;
let valid: string;

beforeAll(async () => {
  keyed = await startKeyedRelay();
  worker = await keyed.worker();
  await worker.register([MODEL], { max_concurrent: 100 });
  const revoked = await keyed.key();
  await keyed.ring.revokeKey(revoked.id);
  valid = (await keyed.key()).secret;
  limited = (await keyed.key({ models: ["another"] })).secret;
  Object.assign(secrets, {
    "a wrong key": "not-a-key",
    "a wrong key of the right form": `mr_live_${"A".repeat(43)}`,
    "a key's prefix": valid.slice(0, 16),
    "a revoked key": revoked.secret,
    "an expired key": (await keyed.key({ expiresAt: Date.now() - 1 })).secret,
    "the relay's worker secret": SECRET,
    "a named worker secret": (await keyed.ring.createWorkerSecret("box", undefined)).secret,
    "the admin token": ADMIN_TOKEN,
  });
});
afterAll(() => keyed[Symbol.asyncDispose]());

const ask = ({ line, init }: Route, headers: Record<string, string>) => {
  const given = init();
  const all = new Headers(given.headers);
  for (const [name, value] of Object.entries(headers)) all.set(name, value);
  return keyed.fetch(line.split(" ")[1] ?? "", { ...given, headers: all });
};

/** The message, where the dialect has it; fails if the body has another shape. */
function messageIn(dialect: Dialect, body: unknown, type: string, code: string): string {
  const text = expect.any(String) as string;
  switch (dialect) {
    case "openai":
      expect(body).toEqual({ error: { message: text, type, param: null, code } });
      break;
    case "anthropic":
      expect(body).toEqual({ type: "error", error: { type, message: text }, request_id: text });
      break;
    case "ollama":
      expect(body).toEqual({ error: text });
  }
  const { error } = body as { error: string | { message: string } };
  return typeof error === "string" ? error : error.message;
}

/** Lets a valid request through: the first that the worker has been given, if nothing got there before. */
async function expectNothingReachedTheWorker(): Promise<void> {
  const id = crypto.randomUUID();
  const answer = ask(ROUTES[0]!, { authorization: `Bearer ${valid}`, "x-request-id": id });
  const request = await worker.next("request");
  expect(request["headers"]).toMatchObject({ "x-request-id": id });
  worker.complete(request, 200, "{}");
  expect((await answer).status).toBe(200);
}

describe("Each route of the API", () => {
  for (const [shown, { status, message }] of Object.entries(SHOWN)) {
    test(`answers ${status} in its dialect to ${shown}, and no worker hears of it`, async () => {
      for (const route of ROUTES) {
        for (const [field, write] of shown === "nothing" ? FIELDS.slice(0, 1) : FIELDS) {
          const secret = secrets[shown];
          const response = await ask(route, secret === undefined ? {} : { [field]: write(secret) });
          const body: unknown = await response.json();
          expect({ route: route.line, field, status: response.status }).toEqual({
            route: route.line,
            field,
            status,
          });
          const said = messageIn(route.dialect, body, "authentication_error", "invalid_api_key");
          expect(said).toStartWith(message);
          expect(JSON.stringify(body)).not.toContain(secret ?? "no secret was shown");
          expect(response.headers.get("x-modelrelay-error")).toBe("relay");
        }
      }
      await expectNothingReachedTheWorker();
    });
  }

  test("answers 403 in its dialect to a key for other models, and no worker hears of it", async () => {
    for (const route of ROUTES) {
      const response = await ask(route, { authorization: `Bearer ${limited}` });
      const body: unknown = await response.json();
      expect({ route: route.line, status: response.status }).toEqual({
        route: route.line,
        status: route.otherModel,
      });
      if (route.otherModel === 403) {
        const said = messageIn(route.dialect, body, "permission_error", "model_not_allowed");
        expect(said).toStartWith("This API key ");
      } else expect(JSON.stringify(body)).not.toContain(`"${MODEL}"`);
    }
    await expectNothingReachedTheWorker();
  });

  test("lets a valid key through, in whichever field it stands, and keeps it from the worker", async () => {
    for (const key of [valid, FIRST_KEY]) {
      for (const route of ROUTES) {
        for (const [field, write] of FIELDS) {
          const answer = ask(route, { [field]: write(key) });
          if (route.isOwn !== true && !isOfV2(route)) {
            const request = await worker.next("request");
            expect(JSON.stringify(request)).not.toContain(key);
            worker.complete(request, 200, "{}");
          }
          const { status } = await answer;
          // What v1 of the link cannot carry is let in, and refused later.
          expect({ route: route.line, field, status }).toEqual({
            route: route.line,
            field,
            status: isOfV2(route) ? 502 : 200,
          });
        }
      }
    }
  });
});

test("No secret of the relay reaches a worker in a field beside the key", async () => {
  for (const shown of [
    "the relay's worker secret",
    "a named worker secret",
    "the admin token",
    "a revoked key",
  ]) {
    const secret = secrets[shown] ?? "";
    const answer = ask(ROUTES[0]!, {
      authorization: `Bearer ${valid}`,
      // As two fields of one name arrive.
      "x-api-key": `${secret}, ${secret}`,
      "api-key": secret,
    });
    const request = await worker.next("request");
    expect({ shown, told: JSON.stringify(request).includes(secret) }).toEqual({ shown, told: false });
    worker.complete(request, 200, "{}");
    await answer;
  }
});

/** A worker of v1 takes text in a POST alone. */
function isOfV2({ line, isOwn }: Route): boolean {
  return line.startsWith("GET") && isOwn !== true;
}

describe("Each route of operators", () => {
  const OPERATORS = [
    ["GET", "/admin/keys"],
    ["POST", "/admin/keys"],
    ["GET", "/admin/keys/x"],
    ["PATCH", "/admin/keys/x"],
    ["DELETE", "/admin/keys/x"],
    ["GET", "/admin/workers"],
    ["GET", "/admin/worker-secrets"],
    ["POST", "/admin/worker-secrets"],
    ["DELETE", "/admin/worker-secrets/x"],
    ["GET", "/admin/stats"],
    ["GET", "/admin"],
    ["GET", "/admin/"],
    ["GET", "/admin/nothing"],
    ["OPTIONS", "/admin/keys"],
    ["PUT", "/admin/keys"],
  ] as const;

  test("answers 401 to whatever is not the admin token", async () => {
    const others = { ...secrets, "a valid key": valid, "the first key": FIRST_KEY };
    for (const [method, path] of OPERATORS) {
      for (const [shown, secret] of Object.entries({ nothing: "", ...others })) {
        if (secret === ADMIN_TOKEN) continue;
        const headers = {
          origin: "https://app.example.com",
          ...(secret !== "" && { authorization: `Bearer ${secret}` }),
        };
        const response = await keyed.fetch(path, { method, headers });
        const text = await response.text();
        expect({ method, path, shown, status: response.status }).toEqual({
          method,
          path,
          shown,
          status: 401,
        });
        expect(JSON.parse(text)).toMatchObject({ error: { code: "invalid_admin_token" } });
        expect(response.headers.get("access-control-allow-origin")).toBeNull();
      }
    }
    expect((await keyed.admin("GET", "/admin/keys")).body["keys"]).toHaveLength(4);
  });

  test("takes the token from no other place than the authorization", async () => {
    for (const field of ["x-api-key", "api-key", "x-admin-token"]) {
      expect((await keyed.fetch("/admin/keys", { headers: { [field]: ADMIN_TOKEN } })).status).toBe(401);
    }
    expect((await keyed.fetch(`/admin/keys?token=${ADMIN_TOKEN}`)).status).toBe(401);
  });

  test("throttles wrong tokens of one address", async () => {
    const from = newAddress();
    const askWith = (token: string) =>
      keyed.fetch("/admin/keys", { headers: { authorization: `Bearer ${token}`, "x-forwarded-for": from } });
    for (let n = 0; n < 10; n++) expect((await askWith("wrong")).status).toBe(401);
    const throttled = await askWith("wrong");
    expect([throttled.status, throttled.headers.get("retry-after")]).toEqual([429, "2"]);
  });
});

describe("The workers' door", () => {
  test("answers 401 to keys of clients, to the admin token and to nothing", async () => {
    for (const [shown, secret] of Object.entries({ ...secrets, valid, nothing: "" })) {
      if (shown === "a named worker secret" || secret === SECRET) continue;
      const response = await keyed.fetch("/v1/worker/connect", {
        headers: {
          upgrade: "websocket",
          connection: "Upgrade",
          ...(secret !== "" && { "x-worker-secret": secret }),
        },
      });
      expect({ shown, status: response.status, body: await response.json() }).toEqual({
        shown,
        status: 401,
        body: { error: expect.objectContaining({ code: "invalid_worker_secret" }) as object },
      });
    }
  });
});
