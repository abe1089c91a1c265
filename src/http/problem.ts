/** What an endpoint throws where it cannot answer as asked: it becomes `{"error":{"code","message"}}`. */
export class HttpProblem extends Error {
  readonly status: number;
  /** Stable, in capitals. */
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = "HttpProblem";
    this.status = status;
    this.code = code;
  }
}
