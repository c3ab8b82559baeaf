/** An address as logs and messages may show it: `…` stands for a name and password in it. */
export function withoutPassword(address: string): string {
  return address.replace(/\/\/[^/@]*@/, "//…@");
}
