import { TailgateError, textOf, type HostLogger } from "tailgate/plugin";

/** What JavaScript's SDK waits at most before it gives a batch up (otel.md): clients must come back well before. */
export const RETRY_AFTER_SECONDS = 1;

/** A request that is answered with an error, and what is said to its sender. */
export class Refusal extends Error {
  readonly status: RefusalStatus;
  /** The content codings that are accepted, if the request's is why it is refused. */
  readonly codings: readonly string[] | undefined;

  constructor(
    status: RefusalStatus,
    message: string,
    { codings }: { codings?: readonly string[] } = {},
  ) {
    super(message);
    this.name = "Refusal";
    this.status = status;
    this.codings = codings;
  }

  /** True where the same request may be taken in a while. */
  get isTemporary(): boolean {
    return this.status === 429 || this.status === 503;
  }

  /** The code of a google.rpc.Status. */
  get rpcCode(): number {
    return RPC_CODES[this.status][0];
  }

  /** The name of that code. */
  get rpcStatus(): string {
    return RPC_CODES[this.status][1];
  }
}

/** HTTP's statuses; over gRPC their codes are said. */
export type RefusalStatus = keyof typeof RPC_CODES;

/** For each HTTP status the code of a google.rpc.Status, and its name (google/rpc/code.proto). */
const RPC_CODES = {
  400: [3, "INVALID_ARGUMENT"],
  403: [7, "PERMISSION_DENIED"],
  404: [5, "NOT_FOUND"],
  405: [12, "UNIMPLEMENTED"],
  // The same request will never be taken.
  413: [3, "INVALID_ARGUMENT"],
  415: [3, "INVALID_ARGUMENT"],
  429: [8, "RESOURCE_EXHAUSTED"],
  501: [12, "UNIMPLEMENTED"],
  503: [14, "UNAVAILABLE"],
  504: [4, "DEADLINE_EXCEEDED"],
} as const;

/** What is said to a sender of what went wrong. Only what is bad for good is a 400: after it clients drop the batch. */
export function refusalOf(error: unknown, log: HostLogger): Refusal {
  if (error instanceof Refusal) return error;
  if (TailgateError.is(error, "OTLP_UNDECODABLE")) return new Refusal(400, error.message);
  if (TailgateError.is(error, "STOPPED")) return new Refusal(503, error.message);
  if (TailgateError.is(error, "OVERLOADED")) return new Refusal(429, error.message);
  log.error("A request failed.", error);
  return new Refusal(503, `The request failed: ${textOf(error)}`);
}

export function stopping(): Refusal {
  return new Refusal(503, "The gateway is stopping.");
}
