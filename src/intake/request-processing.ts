import { ProtobufOrigin } from "../batch/origin.ts";
import type { LoggerNames } from "../envelope/prefix.ts";
import { textOf } from "../wire/errors.ts";
import { ProtobufDecoder } from "../otlp/decode.ts";
import { changedRecord } from "../otlp/changed-record.ts";
import { buildRequest, type EncodedRecord } from "../otlp/encode.ts";
import { asRejection, type RequestFindings } from "../otlp/findings.ts";
import { readableRequest } from "../otlp/readable-request.ts";
import { RequestIndex } from "../otlp/request-index.ts";
import { PART_VALUES_MAX, STEP_BYTES, type Steps } from "../otlp/request-limits.ts";
import { ScannedRecord } from "../otlp/scanned-record.ts";
import type { ProcessedRecord } from "./processors.ts";
import { RequestView } from "./record-view.ts";

/** A step ends after this many records, however small they are. */
const STEP_RECORDS = 64;

/** What becomes of a record of a request; undefined if it is left out. `insert` inserts records before it. */
export type Decide = (
  view: RequestView,
  insert: (record: EncodedRecord) => void,
) => "unchanged" | ProcessedRecord | undefined;

export interface ProcessOptions {
  readonly loggers: LoggerNames;
  /** Whether what no processor gets to see is removed: unknown and superseded fields around the records. */
  readonly removesUnread: boolean;
  /** What the sender should know about the records of a changed request is added. */
  readonly findings: RequestFindings | undefined;
}

/** A record with two times may pass the processors out of order, but is stored in order. */
const INDEXING = { isExact: false, isReceived: true };

/**
 * Runs the records of an ExportLogsServiceRequest through `decide`, in order of time, and returns the request with what it
 * decided: the same bytes if that is nothing. Records that stay unchanged keep their bytes in any case.
 * @throws TailgateError OTLP_UNDECODABLE
 */
export function* processRequest(
  given: Uint8Array,
  { loggers, removesUnread, findings }: ProcessOptions,
  decide: Decide,
): Steps<Uint8Array> {
  try {
    let body = given;
    let index = yield* RequestIndex.inSteps(body, INDEXING);
    if (removesUnread && index.hasUnread && index.length > 0) {
      body = readableRequest(index.reader.bytes);
      index = yield* RequestIndex.inSteps(body, INDEXING);
    }
    const request = new ProtobufOrigin(index.reader.bytes, index.length);
    const changes = yield* decideInSteps(index, request, loggers, decide);
    if (changes.size === 0 && body === given) return body;
    if (findings !== undefined) noteFindings(index, findings);
    if (changes.size === 0) return body;
    return yield* assemble(request, changes);
  } catch (error) {
    throw asRejection(error);
  }
}

/** A smaller record cannot have too many values: each takes four bytes. */
const CHECKED_BYTES = 4 * PART_VALUES_MAX;

/**
 * Checks what a processor made of a record, which must not cost the request its other records.
 * @throws Error if the record is too large.
 */
export function checkEncodable(record: EncodedRecord): void {
  if (record.record.length + record.resource.length + record.scope.length < CHECKED_BYTES) return;
  try {
    const request = buildRequest(1, () => record);
    const index = RequestIndex.of(request, { isExact: true, isReceived: true });
    new ProtobufDecoder(index, PART_VALUES_MAX).record(0);
  } catch (error) {
    throw new Error(textOf(error), { cause: error });
  }
}

/** What takes the place of a record: nothing, the changed one, or more. */
type Changes = ReadonlyMap<number, readonly EncodedRecord[]>;

function* decideInSteps(
  index: RequestIndex,
  request: ProtobufOrigin,
  loggers: LoggerNames,
  decide: Decide,
): Steps<Changes> {
  const changes = new Map<number, EncodedRecord[]>();
  const view = new RequestView(index, loggers);
  const order = index.order();
  let inserted: EncodedRecord[] = [];
  const insert = (one: EncodedRecord): void => void inserted.push(one);
  let bytes = 0;
  for (let position = 0; position < index.length; position++) {
    const record = order?.[position] ?? position;
    if (inserted.length > 0) inserted = [];
    const result = decide(view.select(record), insert);
    if (result === undefined) changes.set(record, inserted.slice());
    else if (result !== "unchanged" || inserted.length > 0) {
      const sent = request.otlp(record);
      const kept = result === "unchanged" ? sent : changedRecord(sent, result.before, result.after);
      if (kept !== sent || inserted.length > 0) changes.set(record, [...inserted, kept]);
    }
    bytes += index.end(record) - index.start(record);
    if (bytes < STEP_BYTES && position % STEP_RECORDS !== 0) continue;
    bytes = 0;
    yield;
  }
  return changes;
}

/** Notes what the encoder would find in the records, which it does not get to see as they were sent. */
function noteFindings(index: RequestIndex, findings: RequestFindings): void {
  const fields = new ScannedRecord();
  for (let record = 0; record < index.length; record++) {
    fields.read(index.reader, index.start(record), index.end(record));
    if (fields.invalidIdEnd !== 0) findings.invalidIdAt(fields.invalidIdEnd);
  }
}

function* assemble(request: ProtobufOrigin, changes: Changes): Steps<Uint8Array> {
  const records: EncodedRecord[] = [];
  for (let record = 0; record < request.records; record++) {
    records.push(...(changes.get(record) ?? [request.otlp(record)]));
    if (record % STEP_RECORDS === 0) yield;
  }
  return buildRequest(records.length, (index) => records[index]!);
}
