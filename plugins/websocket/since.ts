import type { Batch, FilterTerm, Gap, HostJournal } from "tailgate/plugin";
import type { Wanted } from "./matcher.ts";

/** The timestamp in an envelope's `data`: after `{"timestamp":"`, and always as long. */
const TIMESTAMP_START = 14;
const TIMESTAMP_LENGTH = 27;

/** In microseconds. */
const TIMESTAMP_EFFORT = 0.3;

/** The moment from which on records of the past are wanted. */
export class Since {
  /** In ms since 1970. */
  readonly ms: number;
  /** In the envelope's form, so that texts can be compared. */
  readonly #text: string;

  /** `micros`: the six digits after the second of that moment. */
  constructor(ms: number, micros: string) {
    this.ms = ms;
    this.#text = `${new Date(ms).toISOString().slice(0, 20)}${micros}Z`;
  }

  /** The wanted records from that moment on. */
  within(wanted: Wanted): Wanted {
    const term: FilterTerm = {
      matches: (records, index) => records.envelope(index).data.timestamp >= this.#text,
    };
    return {
      key: `${wanted.key}\nsince:${this.#text}`,
      terms: [term, ...wanted.terms],
      effort: (bytes) => TIMESTAMP_EFFORT + wanted.effort(bytes),
      matches: (records, index) =>
        timestampOf(records, index) >= this.#text && wanted.matches(records, index),
    };
  }

  /** Whether records from that moment on may be in the gap: not where older ones than that are still kept behind it. */
  async concerns({ to, type, reason }: Gap, journal: HostJournal): Promise<boolean> {
    if (reason !== "retention") return true;
    const { records } = await journal.read({ from: to + 1, type });
    return records === undefined || timestampOf(records, 0) >= this.#text;
  }
}

/** The years that envelopes show. */
const MS_MIN = Date.parse("0000-01-01T00:00:00Z");
const MS_MAX = Date.parse("9999-12-31T23:59:59.999Z");

/** From ISO 8601 or ms since 1970, to the microsecond: further digits are left out, as envelopes leave them out. */
export function sinceTime(time: string | number): Since {
  const given = typeof time === "number" ? time : Date.parse(time);
  const ms = Math.min(Math.max(given, MS_MIN), MS_MAX);
  const [, fraction] = /\.(\d+)/.exec(String(time)) ?? [];
  const isExact = fraction !== undefined && ms === given;
  const digits = isExact ? fraction : String(new Date(ms).getUTCMilliseconds()).padStart(3, "0");
  return new Since(ms, digits.slice(0, 6).padEnd(6, "0"));
}

function timestampOf(records: Batch, index: number): string {
  const { buffer, byteOffset } = records.data(index);
  const start = byteOffset + TIMESTAMP_START;
  return Buffer.from(buffer, start, TIMESTAMP_LENGTH).toString("latin1");
}
