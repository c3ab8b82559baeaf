/** From the one that goes first to the one that goes last. */
export const PRIORITIES = ["high", "normal", "low"] as const;
/** Who goes first where requests have to wait. */
export type Priority = (typeof PRIORITIES)[number];
