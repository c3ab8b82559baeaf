const ENTITY: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** Text as it stands between two tags. */
export function xmlText(text: string): string {
  return text.replace(/[&<>"]/g, (c) => ENTITY[c] ?? c);
}

/** What such text stands for. */
export function plainText(xml: string): string {
  return Object.entries(ENTITY).reduceRight((text, [c, entity]) => text.replaceAll(entity, c), xml);
}

export function element(name: string, text: string): string {
  return `<${name}>${xmlText(text)}</${name}>`;
}

/** Every line two columns further to the right. */
export function indented(text: string): string {
  return text.replace(/^/gm, "  ");
}
