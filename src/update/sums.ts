/** What `sha256sum` writes: the sums in hex by the name of the file, without its folder. */
export function readSums(text: string): ReadonlyMap<string, string> {
  const sums = new Map<string, string>();
  for (const [, sum = "", name = ""] of text.matchAll(/^([0-9a-fA-F]{64}) [ *](.+?)\r?$/gm))
    sums.set(name, sum.toLowerCase());
  return sums;
}
