/** Path and query of a request, safe to route by and to hand on. */
export interface RequestTarget {
  /** Begins with one `/`; no dot segments, no empty segments, no control characters. */
  path: string;
  /** With its `?`, or empty. */
  query: string;
}

/**
 * Takes a request's URL apart. `new URL(request.url)` is not used: with a malformed `Host` the runtime
 * hands over a bare path or worse, on which it throws.
 *
 * @returns `undefined` if the target must be refused: paths that another server down the line could
 *   read differently (`//`, `/../` with its dots or slashes encoded or not, backslashes) go nowhere; an
 *   encoded slash alone is part of a name, as in `/v1/models/org%2Fname`
 */
export function requestTarget(url: string): RequestTarget | undefined {
  let start = 0;
  if (!url.startsWith("/")) {
    const authority = url.indexOf("://");
    if (authority < 0) return undefined;
    start = url.indexOf("/", authority + 3);
    if (start < 0) return undefined;
  }
  const fragment = url.indexOf("#", start);
  const end = fragment < 0 ? url.length : fragment;
  const mark = url.indexOf("?", start);
  const queryAt = mark < 0 || mark > end ? end : mark;
  const path = url.slice(start, queryAt);
  if (!SAFE_PATH.test(path) || CONFUSING.test(path)) return undefined;
  return { path, query: url.slice(queryAt, end) };
}

/** RFC 3986 §3.3: segments of pchar. */
const SAFE_PATH = /^(?:\/[A-Za-z0-9\-._~!$&'()*+,;=:@%]*)+$/;
const CONFUSING = /\/\/|(?:\/|%2f)(?:\.|%2e){1,2}(?:\/|%2f|$)|%(?:00|5c)|%(?![0-9a-f]{2})/i;
