import type { JsonAttributes } from "../envelope/json-attributes.ts";
import type { EnvelopeRules } from "../envelope/rules.ts";
import type { EncodedRecord, RequestPart } from "../otlp/encode.ts";
import type { LogRecord } from "../plugin/index.ts";
import { ProtobufOrigin, type Origin } from "./origin.ts";

/**
 * An origin whose request is only made when somebody asks for it: most readers of the journal need nothing but envelopes.
 * If it cannot be made, every method throws, and records are rebuilt from their envelopes.
 */
export class DeferredOrigin implements Origin {
  readonly recordBytes: number;
  readonly records: number;
  readonly rules: EnvelopeRules | undefined;
  readonly #load: () => Uint8Array;
  #origin: ProtobufOrigin | undefined;

  /** `load` returns an ExportLogsServiceRequest with that many records. */
  constructor(
    load: () => Uint8Array,
    { records, recordBytes, rules }: Pick<DeferredOrigin, "records" | "recordBytes" | "rules">,
  ) {
    this.#load = load;
    this.records = records;
    this.recordBytes = recordBytes;
    this.rules = rules;
  }

  get request(): Uint8Array {
    return this.#loaded.request;
  }

  record(index: number): LogRecord {
    return this.#loaded.record(index);
  }

  resourceAttributes(index: number): JsonAttributes {
    return this.#loaded.resourceAttributes(index);
  }

  scopeAttributes(index: number): JsonAttributes {
    return this.#loaded.scopeAttributes(index);
  }

  otlp(index: number): EncodedRecord {
    return this.#loaded.otlp(index);
  }

  part(positions: Int32Array): RequestPart | undefined {
    return this.#loaded.part(positions);
  }

  get #loaded(): ProtobufOrigin {
    return (this.#origin ??= new ProtobufOrigin(this.#load(), this.records, { rules: this.rules }));
  }
}
