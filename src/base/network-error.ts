import { errorCode, messageOf } from "./errors.ts";
import { describeTlsFailure } from "./tls-failure.ts";

const MEANING: Record<string, string> = {
  ECONNREFUSED: "nothing listens there (connection refused)",
  ConnectionRefused: "nothing listens there (connection refused)",
  ENOTFOUND: "the name does not resolve",
  EAI_AGAIN: "the name server does not answer",
  ENODATA: "the name has no address",
  ECONNRESET: "the connection was closed without an answer",
  EPIPE: "the connection was closed without an answer",
  ConnectionClosed: "the connection was closed without an answer",
  ETIMEDOUT: "no answer in time",
  EHOSTUNREACH: "no route to the host",
  ENETUNREACH: "no route to the network",
  EADDRNOTAVAIL: "this machine has no address of that kind",
  Malformed_HTTP_Response: "it does not answer in HTTP",
  InvalidHTTPResponse: "it does not answer in HTTP",
  InvalidContentLength: "it does not answer in HTTP",
  ResponseHeadersTooLarge: "the header of its answer is too large",
  UnsupportedRedirectProtocol: "it leads to an address that is none of HTTP",
  TooManyRedirects: "it leads from one address to the next without an end",
  UnrequestedUpgrade: "it speaks another protocol on this address",
  ZlibError: "its answer cannot be decompressed",
  BrotliDecompressionError: "its answer cannot be decompressed",
  ZstdDecompressionError: "its answer cannot be decompressed",
};

/**
 * Why a connection failed, as the end of a sentence. It names no address, since clients are told as well:
 * the HTTP client's own messages end with the URL that was asked for.
 */
export function describeNetworkError(thrown: unknown): string {
  const code = errorCode(thrown);
  const meaning =
    code === undefined ? undefined : (MEANING[code] ?? describeTlsFailure(code, undefined)?.message);
  return meaning ?? messageOf(thrown).replace(/ (?:fetching )?"?\w+:\/\/.*$/s, "");
}
