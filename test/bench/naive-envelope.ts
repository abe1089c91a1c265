/** The fields of a system log's envelope, as an object for JSON.stringify. */
export interface NaiveParts {
  readonly seconds: number;
  readonly nanos: number;
  readonly level: string;
  readonly logger: string;
  readonly message: string;
  readonly attributes: object;
}

/** Builds the same envelope as Tailgate for a usual record, in the straightforward way. */
export function naiveEnvelope(parts: NaiveParts): string {
  const { seconds, nanos, level, logger, message, attributes } = parts;
  const second = new Date(1000 * seconds).toISOString().slice(0, 19);
  const micros = String(Math.floor(nanos / 1000)).padStart(6, "0");
  return JSON.stringify({
    type: "system_log",
    data: {
      timestamp: `${second}.${micros}Z`,
      level,
      logger,
      message,
      module: "",
      function: "",
      line: 0,
      ...attributes,
    },
  });
}
