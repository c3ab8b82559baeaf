/** What others sent, for a terminal: one line of it, without control characters, and not too much. */
export function oneLine(text: string, maxLength = 200): string {
  const plain = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?");
  return plain.length > maxLength ? `${plain.slice(0, maxLength)}…` : plain;
}
