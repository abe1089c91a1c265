import { LEVELS, type LevelRank } from "../wire/envelope.ts";
import { ascii, JsonWriter } from "./json-writer.ts";
import { MICROS_BYTES, placeMicros } from "./fast/placed-writing.ts";
import { textOfSecond } from "./timestamp.ts";

export const SYSTEM_HEAD = ascii('{"type":"system_log","data":{"timestamp":"');
export const AUDIT_HEAD = ascii('{"type":"audit_log","data":{"timestamp":"');

/** What stands for the digits of the time until there is one. */
const TIME = ascii("2025-10-13T09:27:24.339163Z");

/** All of an envelope before its message, for one logger and level: copied in one piece, with the time put in. */
export class EnvelopeStart {
  /** What is behind the timestamp. */
  readonly head: Uint8Array;
  readonly #bytes: Uint8Array;
  readonly #timeStart: number;
  /** The one that the bytes have; most records share it with the one before. */
  #second = -1;

  constructor(logger: string, rank: LevelRank, audit: boolean) {
    const type = audit ? AUDIT_HEAD : SYSTEM_HEAD;
    this.#bytes = Buffer.concat([type, TIME, headBytes(logger, rank)]);
    this.#timeStart = type.length;
    this.head = this.#bytes.subarray(type.length + TIME.length);
  }

  /** Seconds that can be shown; micros 0-999999. */
  write(writer: JsonWriter, seconds: number, micros: number): void {
    if (seconds !== this.#second) {
      this.#bytes.set(textOfSecond(seconds), this.#timeStart);
      this.#second = seconds;
    }
    writer.raw(this.#bytes);
    placeMicros(writer, writer.position - this.head.length - MICROS_BYTES, micros);
  }
}

function headBytes(logger: string, rank: LevelRank): Uint8Array {
  const writer = JsonWriter.scratch();
  writer.raw(ascii(`","level":"${LEVELS[rank]}","logger":`));
  writer.string(logger);
  writer.raw(ascii(',"message":'));
  return Uint8Array.from(writer.buffer.subarray(0, writer.position));
}
