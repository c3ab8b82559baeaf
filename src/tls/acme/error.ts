import { Problem, type ProblemOptions } from "../../base/errors.ts";

export interface AcmeErrorOptions extends ProblemOptions {
  type: string;
  retryAtMs?: number | undefined;
  permanent?: boolean;
}

/** A failure of the CA, on the way to it, or of what it asked for. */
export class AcmeError extends Problem {
  override readonly name = "AcmeError";
  /**
   * The CA's error type without `urn:ietf:params:acme:error:` (RFC 8555 §6.7), as it came if it is none
   * of those; or one of ours: `unreachable`, `untrusted`, `timeout`, `notAcme`, `noHttpChallenge`,
   * `noProfile`, `wrongCertificate`, `compound`.
   */
  readonly type: string;
  /** Wall time in ms since the epoch before which the CA does not want to hear of it again. */
  readonly retryAtMs: number | undefined;
  /** Trying again cannot help before a person has changed something. */
  readonly permanent: boolean;

  constructor(message: string, options: AcmeErrorOptions) {
    super(message, options);
    this.type = options.type;
    this.retryAtMs = options.retryAtMs;
    this.permanent = options.permanent ?? false;
  }
}
