/** Makes blocks of the form in which threads hand over records (src/batch/block.ts) of the records of a merged block. */

import { completeBlock } from "../../batch/complete-block.ts";
import { renderFrames, type EnvelopeRules } from "../../envelope/rules.ts";
import { putVarint, varintBytes } from "../../otlp/protobuf.ts";
import { REQUEST, RESOURCE_LOGS, SCOPE_LOGS } from "../../otlp/schema.ts";
import { frameHeaderBytes, writeFrameHeader } from "../../plugin/text-frame.ts";
import type { EnvelopeType } from "../../wire/envelope.ts";
import type { BlockView } from "../block-view.ts";
import { PLAIN, type EnvelopeRenderer } from "../envelopes/renderer.ts";
import type { Op } from "./ops.ts";
import { RecordWriter } from "./record-writer.ts";
import type { ShapeIndex } from "./shape-index.ts";
import type { DecodedValues } from "./values.ts";

const HASH_BYTES = 32;
const NOTHING = new Uint8Array();

/** What records are made of. */
export interface PageSource extends Pick<
  BlockView,
  "type" | "sequences" | "ranks" | "loggers" | "resources" | "scopes"
> {
  readonly type: EnvelopeType;
  readonly rules: EnvelopeRules;
  readonly renderer: EnvelopeRenderer;
  readonly loggerNames: readonly string[];
  readonly shapes: ShapeIndex;
  readonly columns: readonly (DecodedValues | undefined)[];
  /** The bytes of records without a shape, and their envelopes, which are empty if the rules make it. */
  readonly exceptions: readonly Uint8Array[];
  readonly envelopes: readonly Uint8Array[];
  readonly hashes: Buffer | undefined;
}

/** Envelopes, each after its frame header, and their sizes. */
interface Frames {
  readonly bytes: Uint8Array;
  readonly sizes: Int32Array;
}

/** An OTLP request, and for each record its position in it. */
interface Request {
  readonly request: Buffer;
  readonly positions: Int32Array;
}

/** The records of a scope, in the writer's bytes. */
interface ScopeGroup {
  readonly scope: Uint8Array;
  readonly start: number;
  readonly end: number;
}

export class PageBuilder {
  readonly #writer: RecordWriter;

  constructor(ops: readonly Op[]) {
    this.#writer = new RecordWriter(ops);
  }

  /** Returns the block of these records; `isWithoutRequest`: without their OTLP request. */
  build(
    source: PageSource,
    indexes: ArrayLike<number>,
    isWithoutRequest: boolean,
  ): Uint8Array<ArrayBuffer> {
    const { type, sequences, ranks, loggers, loggerNames } = source;
    const whole = isWithoutRequest ? undefined : this.#request(source, indexes);
    const { bytes: frames, sizes } = this.#frames(source, indexes, whole);
    return completeBlock({
      type,
      firstSequence: sequences[indexes[0]!]!,
      sequences: valuesAt(sequences, indexes),
      sizes,
      ranks: valuesAt(ranks, indexes),
      loggers: valuesAt(loggers, indexes),
      loggerNames,
      hashes: hashesAt(source.hashes, indexes),
      frames,
      request: whole?.request ?? NOTHING,
      positions: whole?.positions ?? [...sizes.keys()],
    });
  }

  /** Returns the frames of the records' envelopes, in their order, and the sizes of the envelopes. */
  #frames(source: PageSource, indexes: ArrayLike<number>, whole: Request | undefined): Frames {
    const { shapes, envelopes, rules, renderer } = source;
    const rendered = renderer.render(indexes);
    const kept: (Uint8Array | undefined)[] = [];
    const plain: number[] = [];
    for (let item = 0; item < indexes.length; item++) {
      if (rendered.sizes[item] !== PLAIN) continue;
      const index = indexes[item]!;
      const envelope = shapes.of[index]! < 0 ? envelopes[shapes.rank[index]!]! : undefined;
      if (envelope !== undefined && envelope.length > 0) kept[item] = envelope;
      else plain.push(item);
    }
    if (kept.length === 0 && plain.length === 0) return rendered;
    if (plain.length === 0) return joined(rendered, kept, undefined);
    if (whole !== undefined) {
      const positions = plain.map((item) => whole.positions[item]!);
      return joined(rendered, kept, renderFrames(whole.request, positions, rules));
    }
    const { request, positions } = this.#request(
      source,
      plain.map((item) => indexes[item]!),
    );
    return joined(rendered, kept, renderFrames(request, positions, rules));
  }

  /** Returns the request with the records, by their resources and scopes, and for each record its position in it. */
  #request(source: PageSource, indexes: ArrayLike<number>): Request {
    const { resources, scopes } = source;
    const writer = this.#writer;
    writer.length = 0;
    const positions = new Int32Array(indexes.length);
    const groups = new Map<Uint8Array, ScopeGroup[]>();
    let position = 0;
    for (const items of itemsByGroup(source, indexes)) {
      const start = writer.length;
      for (const item of items) {
        this.#record(source, indexes[item]!);
        positions[item] = position++;
      }
      const index = indexes[items[0]!]!;
      const resource = resources.distinct[resources.of[index]!]!;
      const group = { scope: scopes.distinct[scopes.of[index]!]!, start, end: writer.length };
      const known = groups.get(resource);
      if (known === undefined) groups.set(resource, [group]);
      else known.push(group);
    }
    return { request: requestOf(groups, writer.bytes), positions };
  }

  /** Writes a record as a field of its ScopeLogs. */
  #record({ shapes, columns, exceptions }: PageSource, index: number): void {
    const writer = this.#writer;
    const shape = shapes.of[index]!;
    const rank = shapes.rank[index]!;
    writer.reserve(16);
    writer.bytes[writer.length++] = SCOPE_LOGS.tags.logRecords;
    const start = writer.length;
    // Most records have a length of two bytes.
    writer.length += 2;
    if (shape >= 0) {
      const { ops, slots } = shapes.shapes[shape]!;
      writer.write(ops, slots, rank, columns);
    } else {
      const bytes = exceptions[rank]!;
      writer.reserve(bytes.length);
      writer.bytes.set(bytes, writer.length);
      writer.length += bytes.length;
    }
    writer.patch(start, 2);
  }
}

/** Returns lists of items, each with the records of one resource and one scope, in order of the resources. */
function itemsByGroup(
  { resources, scopes }: PageSource,
  indexes: ArrayLike<number>,
): readonly (readonly number[])[] {
  const groups = new Map<number, number[]>();
  const scopesMax = scopes.distinct.length;
  let last = -1;
  let items: number[] = [];
  for (let item = 0; item < indexes.length; item++) {
    const index = indexes[item]!;
    const group = resources.of[index]! * scopesMax + scopes.of[index]!;
    if (group !== last) {
      last = group;
      let known = groups.get(group);
      if (known === undefined) groups.set(group, (known = []));
      items = known;
    }
    items.push(item);
  }
  return [...groups].toSorted(([one], [other]) => one - other).map(([, list]) => list);
}

function requestOf(
  groups: ReadonlyMap<Uint8Array, readonly ScopeGroup[]>,
  records: Buffer,
): Buffer {
  const resources = Array.from(groups, ([resource, scopes]) => {
    const sizes = scopes.map(({ scope, start, end }) => scope.length + end - start);
    const size = sizes.reduce((sum, inner) => sum + fieldBytes(inner), resource.length);
    return { resource, scopes, sizes, size };
  });
  const total = resources.reduce((sum, { size }) => sum + fieldBytes(size), 0);
  const request = Buffer.allocUnsafeSlow(total);
  let position = 0;
  const field = (tag: number, size: number): void => {
    request[position++] = tag;
    position = putVarint(request, position, size);
  };
  const put = (bytes: Uint8Array): void => {
    request.set(bytes, position);
    position += bytes.length;
  };
  for (const { resource, scopes, sizes, size } of resources) {
    field(REQUEST.tags.resourceLogs, size);
    put(resource);
    for (const [index, { scope, start, end }] of scopes.entries()) {
      field(RESOURCE_LOGS.tags.scopeLogs, sizes[index]!);
      put(scope);
      put(records.subarray(start, end));
    }
  }
  return request;
}

function fieldBytes(size: number): number {
  return 1 + varintBytes(size) + size;
}

/** Puts frames in the order of the records, those that were rendered, those of kept envelopes, and all others. */
function joined(
  rendered: Frames,
  kept: readonly (Uint8Array | undefined)[],
  made: Frames | undefined,
): Frames {
  const sizes = new Int32Array(rendered.sizes);
  let next = 0;
  let total = 0;
  for (let item = 0; item < sizes.length; item++) {
    if (sizes[item] === PLAIN) sizes[item] = kept[item]?.length ?? made!.sizes[next++]!;
    total += frameHeaderBytes(sizes[item]!) + sizes[item]!;
  }
  const bytes = Buffer.allocUnsafeSlow(total);
  let position = 0;
  const take = (frames: Uint8Array, from: number, size: number): number => {
    const end = from + frameHeaderBytes(size) + size;
    bytes.set(frames.subarray(from, end), position);
    position += end - from;
    return end;
  };
  let renderedAt = 0;
  let madeAt = 0;
  for (let item = 0; item < sizes.length; item++) {
    const size = sizes[item]!;
    const envelope = kept[item];
    if (rendered.sizes[item] !== PLAIN) renderedAt = take(rendered.bytes, renderedAt, size);
    else if (envelope === undefined) madeAt = take(made!.bytes, madeAt, size);
    else {
      position = writeFrameHeader(bytes, position, size);
      bytes.set(envelope, position);
      position += size;
    }
  }
  return { bytes, sizes };
}

export function valuesAt(values: ArrayLike<number>, indexes: ArrayLike<number>): Float64Array {
  const chosen = new Float64Array(indexes.length);
  for (let item = 0; item < indexes.length; item++) chosen[item] = values[indexes[item]!]!;
  return chosen;
}

function hashesAt(hashes: Buffer | undefined, indexes: ArrayLike<number>): Uint8Array {
  if (hashes === undefined) return new Uint8Array();
  const chosen = Array.from(indexes, (index) =>
    hashes.subarray(HASH_BYTES * index, HASH_BYTES * (index + 1)),
  );
  return Buffer.concat(chosen);
}
