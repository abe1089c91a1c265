import type { EnvelopeType } from "../wire/envelope.ts";
import {
  CELL_LOGGER,
  CELL_OTLP,
  CELL_RANK,
  CELL_SEQUENCE,
  CELL_SIZE,
  CELLS,
  FORMAT_COMPLETE,
  HEAD_CELLS_COMPLETE,
  HEAD_FORMAT,
  HEAD_FRAMES_BYTES,
  HEAD_IS_AUDIT,
  HEAD_LOGGERS_BYTES,
  HEAD_OTLP_BYTES,
  HEAD_RECORDS,
} from "./block-layout.ts";

/** The parts of a block that has the envelopes of all its records. The lists have one item for each record. */
export interface CompleteParts {
  readonly type: EnvelopeType;
  readonly firstSequence: number;
  readonly sequences: ArrayLike<number>;
  /** The sizes of the envelopes. */
  readonly sizes: ArrayLike<number>;
  readonly ranks: ArrayLike<number>;
  /** Indexes in `loggerNames`. */
  readonly loggers: ArrayLike<number>;
  readonly loggerNames: readonly string[];
  /** Of audit events, 32 bytes each; otherwise empty. */
  readonly hashes: Uint8Array;
  readonly frames: Uint8Array;
  /** An OTLP request with the records, and the index of each in it. */
  readonly request: Uint8Array;
  readonly positions: ArrayLike<number>;
}

/** Puts a block together of which other parts of the journal have stored the records in another form. */
export function completeBlock(parts: CompleteParts): Uint8Array<ArrayBuffer> {
  const { type, firstSequence, sequences, sizes, ranks, loggers, hashes, frames, request } = parts;
  const { positions } = parts;
  const { length } = sequences;
  const names = Buffer.from(JSON.stringify(parts.loggerNames));
  const head = new Int32Array(HEAD_CELLS_COMPLETE);
  head[HEAD_FORMAT] = FORMAT_COMPLETE;
  head[HEAD_RECORDS] = length;
  head[HEAD_LOGGERS_BYTES] = names.length;
  head[HEAD_FRAMES_BYTES] = frames.length;
  head[HEAD_OTLP_BYTES] = request.length;
  head[HEAD_IS_AUDIT] = type === "audit_log" ? 1 : 0;
  const cells = new Int32Array(CELLS * length);
  for (let item = 0; item < length; item++) {
    const cell = CELLS * item;
    cells[cell + CELL_SEQUENCE] = sequences[item]! - firstSequence;
    cells[cell + CELL_SIZE] = sizes[item]!;
    cells[cell + CELL_RANK] = ranks[item]!;
    cells[cell + CELL_LOGGER] = loggers[item]!;
    cells[cell + CELL_OTLP] = positions[item]!;
  }
  const pieces = [
    new Uint8Array(head.buffer),
    new Uint8Array(cells.buffer),
    hashes,
    names,
    frames,
    request,
  ];
  const bytes = Buffer.allocUnsafeSlow(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let position = 0;
  for (const piece of pieces) {
    bytes.set(piece, position);
    position += piece.length;
  }
  return bytes;
}
