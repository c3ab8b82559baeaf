/** Text inside a cell of a Markdown table. */
export const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("*", "\\*");

/** The same, as it is typed. */
export const code = (text: string): string => `\`${text.replaceAll("|", "\\|")}\``;
