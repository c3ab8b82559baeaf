/** The other end does not keep to HTTP/1.1, or has left in the middle of its answer. */
export class ResponseError extends Error {
  override readonly name = "ResponseError";
  readonly code:
    "ConnectionClosed" | "InvalidHTTPResponse" | "ResponseHeadersTooLarge" | "UnrequestedUpgrade";

  constructor(code: ResponseError["code"], message: string) {
    super(message);
    this.code = code;
  }
}

/** What came is no HTTP/1.1. */
export function malformed(message: string): ResponseError {
  return new ResponseError("InvalidHTTPResponse", message);
}
