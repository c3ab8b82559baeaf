import { Problem } from "../base/errors.ts";

/** The backend could not answer; `status`, `code` and the message, which names no address, are what the client is told. */
export class BackendError extends Problem {
  override readonly name = "BackendError";
  readonly status: number;
  readonly code: string;
  /** Whether the backend itself seems to be down, so that its models should be looked at. */
  readonly down: boolean;

  constructor(
    message: string,
    status: number,
    code: string,
    options: { cause?: unknown; down?: boolean } = {},
  ) {
    super(message, { cause: options.cause });
    this.status = status;
    this.code = code;
    this.down = options.down ?? false;
  }
}
