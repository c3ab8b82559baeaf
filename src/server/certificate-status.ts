import type { CertificateReport } from "../tls/source.ts";

const DAY_MS = 86_400_000;
/** Of a certificate's lifetime: what is left when a renewal has long been due, and somebody should look. */
const SHORT_OF_TIME = 1 / 10;

/** One certificate in `/health`. */
export function certificateStatus(report: CertificateReport): object {
  const { subject, names, certificate, ordering = false, renewAt, nextTryAt, lastError } = report;
  return {
    subject,
    names,
    issuer: certificate?.issuer ?? null,
    serial: certificate?.serial ?? null,
    not_after: isoTime(certificate?.notAfter),
    pin: certificate?.pin ?? null,
    ordering,
    renew_at: isoTime(renewAt),
    next_try_at: isoTime(nextTryAt),
    last_error: lastError === undefined ? null : outside(lastError),
  };
}

/** An error as strangers may read it. */
function outside({ at, message, action }: NonNullable<CertificateReport["lastError"]>): object {
  return {
    message: withoutFolders(message),
    ...(action !== undefined && { action: withoutFolders(action) }),
    at: isoTime(at),
  };
}

/** Leaves the last part of each path: where files lie is nobody's business who can ask for the status. */
function withoutFolders(text: string): string {
  return text.replaceAll(/(?:[A-Za-z]:\\|(?<![\w/:.])\/)(?:[^\s"'/\\]+[/\\])+/g, "…/");
}

function isoTime(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}

/** What is wrong with a certificate, as sentences for `/readyz`; none if all is well. */
export function certificateTroubles(report: CertificateReport, nowMs: number): string[] {
  const { subject, certificate, ordering, nextTryAt, lastError } = report;
  if (certificate === undefined) return [missing(report)];
  if (report.unserved !== undefined) return [`HTTPS is not served: ${withoutFolders(report.unserved)}`];
  const troubles: string[] = [];
  const { notBefore, notAfter } = certificate;
  if (notAfter <= nowMs) troubles.push(`the certificate of ${subject} has expired on ${isoTime(notAfter)}`);
  else if (notAfter - nowMs < (notAfter - notBefore) * SHORT_OF_TIME) {
    const days = ((notAfter - nowMs) / DAY_MS).toFixed(1);
    troubles.push(`the certificate of ${subject} expires in ${days} days`);
  }
  if (lastError !== undefined && ordering !== true)
    troubles.push(
      `the certificate of ${subject} could not be renewed: ${withoutFolders(lastError.message)}${tryText(nextTryAt)}`,
    );
  return troubles;
}

function missing({ subject, ordering, nextTryAt, lastError }: CertificateReport): string {
  if (lastError !== undefined)
    return `there is no certificate for ${subject} yet: ${withoutFolders(lastError.message)}${tryText(nextTryAt)}`;
  return ordering === true
    ? `the first certificate for ${subject} is being ordered`
    : `there is no certificate for ${subject} yet`;
}

function tryText(nextTryAt: number | undefined): string {
  return nextTryAt === undefined ? "" : ` (next try at ${isoTime(nextTryAt)})`;
}
