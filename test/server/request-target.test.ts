import { describe, expect, test } from "bun:test";
import { requestTarget } from "../../src/server/request-target.ts";

describe("Request target", () => {
  test.each([
    ["http://relay/v1/models", "/v1/models", ""],
    ["http://relay:8080/v1/x?a=1&b=/../", "/v1/x", "?a=1&b=/../"],
    ["/v1/models?x#y", "/v1/models", "?x"],
    ["http://a, b/v1/models/org%2Fname", "/v1/models/org%2Fname", ""],
    ["http://relay/v1/models/a.b..c/...", "/v1/models/a.b..c/...", ""],
    ["http://relay/", "/", ""],
  ])("reads %s", (url, path, query) => {
    expect(requestTarget(url)).toEqual({ path, query });
  });

  test.each([
    "http://relay//evil/v1",
    "http://relay/v1//models",
    "http://relay/v1/../admin",
    "http://relay/v1/%2e%2E/admin",
    "http://relay/v1/.%2e",
    "http://relay/v1/.",
    "http://relay/v1/..%2fapi/delete",
    "http://relay/v1/x%2F%2e%2E%2Fadmin",
    "http://relay/v1/a%00b",
    "http://relay/v1/a%5c..",
    "http://relay/v1/a\\b",
    "http://relay/v1/a b",
    "http://relay/v1/a\nb",
    "http://relay/v1/%zz",
    "http://relay/v1/é",
    "http://relay",
    "relay",
    "",
  ])("refuses %j, which another server could read differently", (url) => {
    expect(requestTarget(url)).toBeUndefined();
  });

  test("reads a path of a megabyte without delay of its own making", () => {
    const path = `/v1/${"a".repeat(1_000_000)}`;
    expect(requestTarget(`http://relay${path}`)?.path.length).toBe(path.length);
    expect(requestTarget(`http://relay${path}/%2e%2e/`)).toBeUndefined();
  });
});
