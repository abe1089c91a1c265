/** What an endpoint throws where it cannot answer as asked: it becomes `{"error":{"code","message"}}`. */
export class HttpProblem extends Error {
  readonly status: number;
  /** Stable, in capitals. */
  readonly code: string;
  /** When the same request may succeed; undefined if time does not help. */
  readonly retryAfterSeconds: number | undefined;

  constructor(status: number, code: string, message: string, retryAfterSeconds?: number) {
    super(message);
    this.name = "HttpProblem";
    this.status = status;
    this.code = code;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}
