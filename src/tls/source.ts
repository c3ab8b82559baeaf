/** A certificate with its key, and the names that clients ask for it by. */
export interface Identity {
  names: readonly string[];
  /** PEM: the leaf first, then the intermediates. */
  chainPem: string;
  keyPem: string;
}

/** What is known of one certificate, for `/health`, `/readyz` and `tls status`. Times in ms since the epoch. */
export interface CertificateReport {
  /** What it is kept for: a domain, or the first of its names. */
  subject: string;
  names: readonly string[];
  /** Absent while there is no certificate at all. */
  certificate?: { issuer: string; serial: string; notBefore: number; notAfter: number; pin: string };
  /** Whether one is being ordered at this moment. */
  ordering?: boolean;
  renewAt?: number;
  /** After a failure. */
  nextTryAt?: number;
  lastError?: { at: number; message: string; action?: string };
  /** Why nobody is served with it although it is there. */
  unserved?: string;
}

/** Where certificates come from: a CA, files of others, or this program itself. */
export interface CertificateSource {
  /** What can be served now, the main one first; none while the first is being ordered. */
  identities(): readonly Identity[];
  reports(): readonly CertificateReport[];
  /** Looks again at once, as on SIGHUP: at changed files, or by trying again what failed. */
  reload(): void;
  close(): Promise<void>;
}
