import { formatDuration } from "../base/duration.ts";
import type { CertificateFacts } from "./certificate.ts";

const DAY_MS = 86_400_000;

export interface ExpiryWarning {
  /** 1: it should have been renewed by now; 2: it ends soon; 3: it has ended. */
  level: 1 | 2 | 3;
  message: string;
}

/**
 * Says that a certificate was not renewed: with 14 days left, with 3, and at its end. Of certificates
 * that are valid for less than 70 days it is a fifth and a twentieth of that time: they are renewed
 * later, and one of six days never has 14 left.
 *
 * @param nowMs milliseconds since the epoch
 */
export function expiryWarning(
  { notBefore, notAfter, names }: Pick<CertificateFacts, "notBefore" | "notAfter" | "names">,
  nowMs: number,
): ExpiryWarning | undefined {
  const leftMs = notAfter - nowMs;
  const lifetimeMs = notAfter - notBefore;
  const name = names[0] ?? "no name";
  if (leftMs <= 0) {
    const message = `The certificate for ${name} expired on ${new Date(notAfter).toISOString()}: clients refuse it`;
    return { level: 3, message };
  }
  const message = `The certificate for ${name} expires in ${spanText(leftMs)} and has not been renewed`;
  if (leftMs <= Math.min(3 * DAY_MS, lifetimeMs / 20)) return { level: 2, message };
  if (leftMs <= Math.min(14 * DAY_MS, lifetimeMs / 5)) return { level: 1, message };
  return undefined;
}

function spanText(ms: number): string {
  return ms >= 2 * DAY_MS ? `${Math.floor(ms / DAY_MS)} days` : formatDuration(ms);
}
