import type { RecordFields } from "../filter/records.ts";
import type { JsonAttributes } from "../envelope/json-attributes.ts";
import type { Envelope, EnvelopeType, Level } from "../wire/envelope.ts";
import { otlpToJson } from "../otlp/to-json.ts";
import type { Batch, LogRecord, OtlpForm } from "../plugin/index.ts";

/** Several batches as one, in order. */
export class CompositeBatch implements Batch {
  readonly parts: readonly Batch[];
  readonly length: number;
  readonly byteLength: number;
  /** The index of each part's first record. */
  readonly #starts: readonly number[];
  /** The part of the last access: records are nearly always read in order. */
  #part = 0;

  /** `parts`: at least one. */
  constructor(parts: readonly Batch[]) {
    this.parts = parts;
    this.#starts = startsOf(parts);
    this.length = this.#starts.at(-1)! + parts.at(-1)!.length;
    this.byteLength = parts.reduce((sum, part) => sum + part.byteLength, 0);
  }

  get appendedAtMs(): number {
    return this.parts[0]!.appendedAtMs;
  }

  sequence(index: number): number {
    return this.#partOf(index).sequence(index - this.#start);
  }

  appendedAt(index: number): number {
    return this.#partOf(index).appendedAt(index - this.#start);
  }

  type(index: number): EnvelopeType {
    return this.#partOf(index).type(index - this.#start);
  }

  level(index: number): Level {
    return this.#partOf(index).level(index - this.#start);
  }

  logger(index: number): string {
    return this.#partOf(index).logger(index - this.#start);
  }

  size(index: number): number {
    return this.#partOf(index).size(index - this.#start);
  }

  bytes(index: number): Uint8Array<ArrayBuffer> {
    return this.#partOf(index).bytes(index - this.#start);
  }

  data(index: number): Uint8Array<ArrayBuffer> {
    return this.#partOf(index).data(index - this.#start);
  }

  timestamp(index: number): string {
    return this.#partOf(index).timestamp(index - this.#start);
  }

  envelope(index: number): Envelope {
    return this.#partOf(index).envelope(index - this.#start);
  }

  resourceAttributes(index: number): JsonAttributes {
    return this.#partOf(index).resourceAttributes(index - this.#start);
  }

  mayHaveTrigrams(index: number, trigrams: Uint32Array): boolean {
    const part: RecordFields = this.#partOf(index);
    return part.mayHaveTrigrams?.(index - this.#start, trigrams) ?? true;
  }

  mayHaveText(index: number, texts: readonly string[]): boolean {
    const part: RecordFields = this.#partOf(index);
    return part.mayHaveText?.(index - this.#start, texts) ?? true;
  }

  scopeAttributes(index: number): JsonAttributes {
    return this.#partOf(index).scopeAttributes(index - this.#start);
  }

  record(index: number): LogRecord {
    return this.#partOf(index).record(index - this.#start);
  }

  /** Concatenated requests are one request (protobuf, "Last One Wins": repeated fields are concatenated). */
  otlp(form?: OtlpForm): Uint8Array<ArrayBuffer> {
    return Buffer.concat(this.parts.map((part) => part.otlp(form)));
  }

  otlpJson(form?: OtlpForm): Uint8Array<ArrayBuffer> {
    return otlpToJson(this.otlp(form));
  }

  hash(index: number): string {
    return this.#partOf(index).hash(index - this.#start);
  }

  auditLine(index: number): Uint8Array<ArrayBuffer> {
    return this.#partOf(index).auditLine(index - this.#start);
  }

  frames(): Uint8Array<ArrayBuffer> {
    return Buffer.concat(this.parts.map((part) => part.frames()));
  }

  from(index: number): Batch {
    return this.select((position) => position >= index);
  }

  select(keep: (index: number) => boolean): Batch {
    const selected = this.parts.map((part, position) => {
      const start = this.#starts[position]!;
      return part.select((index) => keep(start + index));
    });
    const isWhole = selected.every((part, position) => part === this.parts[position]);
    const [first, ...others] = selected.filter((part) => part.length > 0);
    if (isWhole || first === undefined) return isWhole ? this : selected[0]!;
    return others.length === 0 ? first : new CompositeBatch([first, ...others]);
  }

  /** Returns the part with the record; `#start` is then the index of its first record. */
  #partOf(index: number): Batch {
    while (index < this.#start) this.#part--;
    while (index >= this.#start + this.parts[this.#part]!.length) this.#part++;
    return this.parts[this.#part]!;
  }

  get #start(): number {
    return this.#starts[this.#part]!;
  }
}

function startsOf(parts: readonly Batch[]): number[] {
  let start = 0;
  return parts.map((part) => {
    start += part.length;
    return start - part.length;
  });
}
