import type { Batch, GapMessage } from "tailgate/plugin";
import { frameHeadBytes, textFrame, writeFrameHead } from "./text-frame.ts";

/** A batch message takes no further envelope when it has so many bytes of them. */
const ENVELOPES_BYTES_MAX = 60 << 10;

/** A stretch of the journal as one filter sees it. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
  /** What matches; undefined where there is nothing. */
  readonly records: Batch | undefined;
  /** In the order of their sequences. */
  readonly gaps: readonly GapMessage[];
  readonly durable: number;
}

/** A batch message behind the gaps that are told with it, ready for the socket. */
export interface Unit {
  /** The viewer's position behind it. */
  readonly to: number;
  readonly frames: number;
  readonly bytes: Uint8Array;
}

/** The whole stretch as messages that follow one another; its envelopes' bytes are copied as they are. */
export function unitsOf(stretch: Stretch): Unit[] {
  const { records, to } = stretch;
  const units: Unit[] = [];
  const length = records?.length ?? 0;
  let { from } = stretch;
  let first = 0;
  do {
    const end = endOfPart(records, first);
    const partTo = end === length ? to : records!.sequence(end - 1);
    units.push(unitOf({ ...stretch, from, to: partTo }, first, end));
    from = partTo + 1;
    first = end;
  } while (first < length);
  return units;
}

function endOfPart(records: Batch | undefined, first: number): number {
  if (records === undefined) return 0;
  let end = first;
  let bytes = 0;
  while (end < records.length) {
    bytes += records.size(end);
    if (bytes > ENVELOPES_BYTES_MAX && end > first) break;
    end++;
  }
  return end;
}

/** The records from `first` up to and without `end`. */
function unitOf({ from, to, records, gaps, durable }: Stretch, first: number, end: number): Unit {
  const gapFrames = gaps
    .filter((gap) => gap.from <= to && gap.to >= from)
    .map((gap) => ({ ...gap, from: Math.max(gap.from, from), to: Math.min(gap.to, to) }))
    .map((gap) => textFrame(JSON.stringify(gap)));
  const gapBytes = gapFrames.reduce((sum, { length }) => sum + length, 0);
  const sequences = sequencesText(records, first, end, to - from + 1);
  const head = `{"type":"batch","from":${from},"to":${to},"durable":${Math.min(durable, to)}${sequences},"envelopes":[`;
  const length = head.length + envelopesBytes(records, first, end) + TAIL.length;
  const bytes = Buffer.allocUnsafeSlow(gapBytes + frameHeadBytes(length) + length);
  let position = 0;
  for (const frame of gapFrames) position += frame.copy(bytes, position);
  position = writeFrameHead(bytes, position, length);
  position += bytes.write(head, position, "latin1");
  for (let index = first; index < end; index++) {
    if (index > first) bytes[position++] = COMMA;
    const envelope = records!.bytes(index);
    bytes.set(envelope, position);
    position += envelope.length;
  }
  bytes.write(TAIL, position, "latin1");
  return { to, frames: gapFrames.length + 1, bytes };
}

const TAIL = "]}";
const COMMA = 0x2c;

function envelopesBytes(records: Batch | undefined, first: number, end: number): number {
  let bytes = Math.max(0, end - first - 1);
  for (let index = first; index < end; index++) bytes += records!.size(index);
  return bytes;
}

function sequencesText(
  records: Batch | undefined,
  first: number,
  end: number,
  places: number,
): string {
  if (end === first || end - first === places) return "";
  const sequences = Array.from({ length: end - first }, (_, offset) =>
    records!.sequence(first + offset),
  );
  return `,"sequences":[${sequences.join(",")}]`;
}
