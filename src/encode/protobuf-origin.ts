import type { LogRecord } from "../plugin.ts";
import { ProtobufDecoder } from "./protobuf-decoder.ts";
import type { Origin } from "./record-batch.ts";
import { RequestLayout } from "./request-layout.ts";

/**
 * Keeps a request's bytes and rebuilds records from them. The places of the records are worked out again when they
 * are asked for, and kept only until the garbage collector wants the memory.
 */
export class ProtobufOrigin implements Origin {
  readonly recordBytes: number;
  readonly #body: Uint8Array;
  #layout: WeakRef<RequestLayout> | undefined;

  /** `records`: how many there are in the request. */
  constructor(body: Uint8Array, records: number) {
    this.#body = body;
    this.recordBytes = Math.ceil(body.length / Math.max(records, 1));
  }

  /** The record whose place in the request, as it was sent, is `index`. */
  record(index: number): LogRecord {
    let layout = this.#layout?.deref();
    if (layout === undefined) {
      layout = new RequestLayout(this.#body);
      this.#layout = new WeakRef(layout);
    }
    // A decoder for each record, so that records share nothing that a plugin could change.
    return new ProtobufDecoder(layout).record(index);
  }
}
