import { relayError, type ClientError } from "../client-error.ts";

const ADMIN_METHODS = ["GET", "POST", "PATCH", "DELETE"] as const;
export type AdminMethod = (typeof ADMIN_METHODS)[number];

/** What an operator asks. */
export interface AdminCall {
  /** What stands in the path for `{id}`; empty where there is none. */
  id: string;
  query: URLSearchParams;
  /** As parsed from JSON; `undefined` where nothing was sent. */
  body: unknown;
}

/** A `Response` is for what is no JSON, such as a stream. */
export type AdminAnswer = { status: number; body?: object } | Response;

/** One thing that operators can ask for. */
export interface AdminRoute {
  method: AdminMethod;
  /** `{id}` stands for one segment. */
  path: string;
  /** @throws {AdminRefusal} if it makes no sense, {StoreError} if the database cannot be reached */
  handle(call: AdminCall): AdminAnswer | Promise<AdminAnswer>;
}

/** Why an operator's request is refused. */
export class AdminRefusal extends Error {
  override readonly name = "AdminRefusal";
  readonly error: ClientError;
  /** Methods that the path has. */
  readonly allowed: readonly string[];

  constructor(status: number, code: string, message: string, allowed: readonly string[] = []) {
    super(message);
    this.error = relayError(status, code, message);
    this.allowed = allowed;
  }
}

/** Answers operators, however they come. */
export interface AdminDesk {
  /** @throws as `AdminRoute.handle` does */
  answer(method: string, path: string, query: URLSearchParams, body: unknown): Promise<AdminAnswer>;
}

export function createAdminDesk(routes: readonly AdminRoute[]): AdminDesk {
  const table = routes.map((route) => ({ ...route, segments: route.path.split("/") }));
  const topics = [...new Set(routes.map(({ path }) => path.replace(/\/\{id\}.*$/, "")))];
  return {
    async answer(method, path, query, body) {
      const segments = path.split("/");
      const matching = table.filter((route) => matches(route.segments, segments));
      if (matching.length === 0) {
        const message = `Nothing is served at "${path.slice(0, 200)}": the admin API has ${topics.join(", ")}`;
        throw new AdminRefusal(404, "not_found", message);
      }
      const route = matching.find((candidate) => candidate.method === method);
      if (route === undefined) {
        const allowed = matching.map((candidate) => candidate.method);
        const message = `The method must be one of ${allowed.join(", ")}`;
        throw new AdminRefusal(405, "method_not_allowed", message, allowed);
      }
      const id = segments[route.segments.indexOf("{id}")] ?? "";
      return route.handle({ id, query, body });
    },
  };
}

function matches(pattern: readonly string[], segments: readonly string[]): boolean {
  return (
    pattern.length === segments.length &&
    pattern.every((part, at) => (part === "{id}" ? segments[at] !== "" : part === segments[at]))
  );
}
