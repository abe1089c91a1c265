/** What the envelope of a system log is made of where an object is built for JSON.stringify. */
export interface NaiveParts {
  readonly seconds: number;
  readonly nanos: number;
  readonly level: string;
  readonly logger: string;
  readonly message: string;
  readonly attributes: object;
}

/** The same envelope that Tailgate writes of a usual record, as anybody would write it first. */
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
