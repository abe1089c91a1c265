import type { LaneRecords } from "./lane-records.ts";
import { RequestBuilder } from "../otlp/encode.ts";
import type { Origin } from "./origin.ts";

/** A smaller request is merged with its neighbours: what it says of its resource would weigh too much. */
const WHOLE_RECORDS_MIN = 32;

/** A part of the request, which is a request by itself: one after the other they are one. */
interface Part {
  readonly byteLength: number;
  writeTo(bytes: Uint8Array, position: number): void;
}

/**
 * The OpenTelemetry records of a lane as one ExportLogsServiceRequest. A request that is in the lane with all of its
 * records goes as it came; of others there are the records that are in the lane.
 */
export class LaneOtlp {
  /** For each record of the lane its place among those of the request. */
  readonly places: Int32Array;
  readonly byteLength: number;
  readonly #parts: Part[] = [];

  constructor(records: LaneRecords) {
    const { batches, indexes, length } = records;
    this.places = new Int32Array(length);
    let loose = 0;
    for (let start = 0; start < length;) {
      const origin = batches[start]!.origin(indexes[start]!);
      let end = start + 1;
      while (end < length && batches[end]!.origin(indexes[end]!) === origin) end++;
      if (isWhole(origin, end - start)) {
        this.#addLoose(records, loose, start);
        this.#addWhole(records, start, end, origin.request!);
        loose = end;
      }
      start = end;
    }
    this.#addLoose(records, loose, length);
    this.byteLength = this.#parts.reduce((sum, part) => sum + part.byteLength, 0);
  }

  writeTo(bytes: Uint8Array, position: number): void {
    let place = position;
    for (const part of this.#parts) {
      part.writeTo(bytes, place);
      place += part.byteLength;
    }
  }

  #addWhole(
    { batches, indexes }: LaneRecords,
    start: number,
    end: number,
    request: Uint8Array,
  ): void {
    for (let record = start; record < end; record++) {
      this.places[record] = start + batches[record]!.originIndex(indexes[record]!);
    }
    this.#parts.push({
      byteLength: request.length,
      writeTo: (bytes, position) => bytes.set(request, position),
    });
  }

  #addLoose({ batches, indexes }: LaneRecords, start: number, end: number): void {
    if (start === end) return;
    for (let record = start; record < end; record++) this.places[record] = record;
    this.#parts.push(
      new RequestBuilder(end - start, (place) =>
        batches[start + place]!.otlpPieces(indexes[start + place]!),
      ),
    );
  }
}

/** No record is in a lane twice: where there are as many as in the request, all of them are there. */
function isWhole({ request, records }: Origin, count: number): boolean {
  return request !== undefined && count === records && count >= WHOLE_RECORDS_MIN;
}
