import type { BlockRecords } from "../../src/batch/stored-records.ts";
import type { EncodedRecord } from "../../src/otlp/encode.ts";
import type { LevelRank } from "../../src/wire/envelope.ts";

/** A record as it goes into a merged block. */
export interface BlockRecord {
  readonly sequence: number;
  readonly appendedAtMs: number;
  readonly rank: LevelRank;
  readonly logger: string;
  readonly otlp: EncodedRecord;
  readonly timeMicros: number;
  readonly envelope: Uint8Array | undefined;
  /** Of audit events, in hexadecimal. */
  readonly hash: string | undefined;
}

/** Returns records as the encoder of blocks takes them, in one piece of bytes. */
export function asBlockRecords(list: readonly BlockRecord[]): BlockRecords {
  const ends: number[] = [];
  for (const { otlp } of list) ends.push((ends.at(-1) ?? 0) + otlp.record.length);
  return {
    length: list.length,
    bytes: Buffer.concat(list.map(({ otlp }) => otlp.record)),
    start: (index) => ends[index - 1] ?? 0,
    end: (index) => ends[index]!,
    resource: (index) => list[index]!.otlp.resource,
    scope: (index) => list[index]!.otlp.scope,
    sequence: (index) => list[index]!.sequence,
    appendedAtMs: (index) => list[index]!.appendedAtMs,
    rank: (index) => list[index]!.rank,
    logger: (index) => list[index]!.logger,
    timeMicros: (index) => list[index]!.timeMicros,
    envelope: (index) => list[index]!.envelope,
    hash: (index) => Buffer.from(list[index]!.hash!, "hex"),
  };
}

/** Returns stored records one by one. */
export function listOf(records: BlockRecords, isAudit: boolean): BlockRecord[] {
  return Array.from({ length: records.length }, (_, index) => ({
    sequence: records.sequence(index),
    appendedAtMs: records.appendedAtMs(index),
    rank: records.rank(index),
    logger: records.logger(index),
    otlp: {
      resource: records.resource(index),
      scope: records.scope(index),
      record: records.bytes.subarray(records.start(index), records.end(index)),
    },
    timeMicros: records.timeMicros(index),
    envelope: records.envelope(index),
    hash: isAudit ? Buffer.from(records.hash(index)).toString("hex") : undefined,
  }));
}
