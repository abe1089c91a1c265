/** Makes envelopes of a merged block's records straight from its columns. */

import { ProtobufOrigin } from "../../batch/origin.ts";
import { WORD_BYTES } from "../../envelope/attributes.ts";
import { resourceMembers, type ResourceMembers } from "../../envelope/encoder.ts";
import { JsonWriter } from "../../envelope/json-writer.ts";
import {
  isShownSecond,
  LoggerNames,
  type EnvelopePrefix,
  type LoggerName,
} from "../../envelope/prefix.ts";
import type { EnvelopeRules } from "../../envelope/rules.ts";
import { buildRequest } from "../../otlp/encode.ts";
import { FRAME_HEADER_SPACE, frameHeaderBytes, writeFrameHeader } from "../../plugin/text-frame.ts";
import { LEVELS } from "../../wire/envelope.ts";
import type { BlockView } from "../block-view.ts";
import { NO_FRAGMENT, putWords } from "../columns/fragments.ts";
import type { Op } from "../columns/ops.ts";
import type { ShapeIndex } from "../columns/shape-index.ts";
import type { DecodedValues } from "../columns/values.ts";
import {
  templateOf,
  type Derived,
  type Step,
  type Template,
  type TemplateColumns,
} from "./template.ts";
import { viewed, type ViewedValues } from "./value-json.ts";

/** What envelopes are made of. */
export interface EnvelopeSource extends Pick<
  BlockView,
  "times" | "ranks" | "loggers" | "resources" | "scopes"
> {
  readonly loggerNames: readonly string[];
  readonly shapes: ShapeIndex;
  readonly columns: readonly (DecodedValues | undefined)[];
}

/** Envelopes, each after its frame header, valid until others are made. */
export interface Rendered {
  readonly bytes: Buffer;
  /** The sizes of the envelopes; {@link PLAIN} for those that are left to the plain path. */
  readonly sizes: Int32Array;
}

export const PLAIN = -1;

const SECOND_MICROS = 1_000_000;
const NOTHING = new Uint8Array();

const OUTPUT_BYTES = 1 << 20;
/** Larger memory is not kept for the next page. */
const OUTPUT_BYTES_MAX = 8 << 20;

/** Reused by all blocks of a thread. */
let output: JsonWriter | undefined;

function emptyOutput(): JsonWriter {
  if (output === undefined || output.buffer.length > OUTPUT_BYTES_MAX) {
    output = new JsonWriter(OUTPUT_BYTES);
    output.bytesMax = Infinity;
  }
  output.position = 0;
  return output;
}

/** A template, and the ends of the envelopes by the codes of their resources. */
interface CachedTemplate {
  readonly template: Template;
  readonly ends: (Uint8Array | undefined)[];
}

/** Scopes that make the same envelopes but for the logger's name. */
interface ScopeKind {
  /** The logger of one of them. */
  readonly scope: LoggerName;
  /** By shape; null if the records are left to the plain path. */
  readonly templates: (CachedTemplate | null | undefined)[];
}

/** The envelopes of one block. Templates and what distinct values make are kept with it. */
export class EnvelopeRenderer {
  readonly #source: EnvelopeSource;
  readonly #ops: readonly Op[];
  readonly #rules: EnvelopeRules;
  readonly #loggers: LoggerNames;
  readonly #columns: TemplateColumns;
  /** For each scope its kind. */
  readonly #kinds: (ScopeKind | undefined)[] = [];
  readonly #kindsByName = new Map<string, ScopeKind>();
  readonly #prefixes: EnvelopePrefix[] = [];
  readonly #members: ResourceMembers[] = [];

  constructor(source: EnvelopeSource, ops: readonly Op[], rules: EnvelopeRules) {
    this.#source = source;
    this.#ops = ops;
    this.#rules = rules;
    this.#loggers = new LoggerNames([], rules.resourceAttributes);
    this.#columns = new SharedColumns(source.columns);
  }

  /** Makes the envelopes of records whose columns can be read. */
  render(indexes: ArrayLike<number>): Rendered {
    const writer = emptyOutput();
    const sizes = new Int32Array(indexes.length);
    for (let item = 0; item < indexes.length; item++) {
      const frame = writer.position;
      writer.reserve(FRAME_HEADER_SPACE);
      writer.position += FRAME_HEADER_SPACE;
      if (this.#put(writer, indexes[item]!)) {
        const size = writer.position - frame - FRAME_HEADER_SPACE;
        putHeader(writer, frame, size);
        sizes[item] = size;
      } else {
        sizes[item] = PLAIN;
        writer.position = frame;
      }
    }
    return { bytes: writer.buffer.subarray(0, writer.position), sizes };
  }

  /** Returns false if the record is left to the plain path. */
  #put(writer: JsonWriter, index: number): boolean {
    const { shapes, times, resources } = this.#source;
    const shape = shapes.of[index]!;
    const cached = shape < 0 ? null : this.#templateOf(shape, index);
    if (cached === null) return false;
    const time = times[index]!;
    const seconds = Math.floor(time / SECOND_MICROS);
    // Later times are not exact as a number.
    if (!isShownSecond(seconds) || !Number.isSafeInteger(time)) return false;
    this.#prefixOf(index).write(writer, seconds, time - seconds * SECOND_MICROS);
    if (!putSteps(writer, cached.template.steps, shapes.rank[index]!)) return false;
    const resource = resources.of[index]!;
    writer.raw((cached.ends[resource] ??= cached.template.end(this.#membersOf(resource))));
    return true;
  }

  #templateOf(shape: number, index: number): CachedTemplate | null {
    const { shapes, scopes } = this.#source;
    const scope = scopes.of[index]!;
    const kind = (this.#kinds[scope] ??= this.#kindOf(scopes.distinct[scope]!));
    let cached = kind.templates[shape];
    if (cached === undefined) {
      const template = templateOf(shapes.shapes[shape]!, {
        ops: this.#ops,
        scope: kind.scope,
        resourceAttributes: this.#rules.resourceAttributes,
        columns: this.#columns,
      });
      cached = template === undefined ? null : { template, ends: [] };
      kind.templates[shape] = cached;
    }
    return cached;
  }

  #kindOf(bytes: Uint8Array): ScopeKind {
    const scope = this.#loggers.of(scopeName(bytes));
    const name = JSON.stringify([scope.nameAttributes, scope.numbering]);
    let kind = this.#kindsByName.get(name);
    if (kind === undefined) this.#kindsByName.set(name, (kind = { scope, templates: [] }));
    return kind;
  }

  #prefixOf(index: number): EnvelopePrefix {
    const { loggers, ranks, loggerNames } = this.#source;
    const logger = loggers[index]!;
    const rank = ranks[index]!;
    return (this.#prefixes[LEVELS.length * logger + rank] ??= this.#loggers.of(
      loggerNames[logger]!,
    ).prefixes[rank]!);
  }

  #membersOf(resource: number): ResourceMembers {
    return (this.#members[resource] ??= membersOf(
      this.#source.resources.distinct[resource]!,
      this.#rules.resourceAttributes,
    ));
  }
}

/** Returns false if the record is left to the plain path. */
function putSteps(writer: JsonWriter, steps: readonly Step[], rank: number): boolean {
  for (let index = 0; index < steps.length; index++) {
    const { constant, slot, codes, fragments, write } = steps[index]!;
    if (constant.length > 0) writer.words(constant);
    const item = slot + rank;
    const value = codes === undefined ? item : codes[item]!;
    if (fragments === undefined) {
      if (!write(writer, value)) return false;
      continue;
    }
    const start = fragments.startOf(value);
    if (start === NO_FRAGMENT) return false;
    const bytes = fragments.lengths[value]!;
    writer.reserve(bytes + WORD_BYTES);
    putWords(writer.view, writer.position, fragments.words, start, bytes);
    writer.position += bytes;
  }
  return true;
}

function putHeader(writer: JsonWriter, frame: number, size: number): void {
  const header = frameHeaderBytes(size);
  if (header !== FRAME_HEADER_SPACE) {
    const start = frame + FRAME_HEADER_SPACE;
    const { position } = writer;
    writer.reserve(header);
    writer.buffer.copyWithin(frame + header, start, position);
    writer.position = frame + header + size;
  }
  writeFrameHeader(writer.buffer, frame, size);
}

class SharedColumns implements TemplateColumns {
  readonly #columns: readonly (DecodedValues | undefined)[];
  readonly #viewed: (ViewedValues | undefined)[] = [];
  readonly #derived: (Map<string, Derived> | undefined)[] = [];

  constructor(columns: readonly (DecodedValues | undefined)[]) {
    this.#columns = columns;
  }

  values(column: number): ViewedValues {
    return (this.#viewed[column] ??= viewed(this.#columns[column]!));
  }

  derived(column: number, name: string, derive: () => Derived): Derived {
    const known = (this.#derived[column] ??= new Map());
    let derived = known.get(name);
    if (derived === undefined) known.set(name, (derived = derive()));
    return derived;
  }
}

/** `scope`: the fields of a ScopeLogs beside its records. */
function scopeName(scope: Uint8Array): string {
  return recordOf(NOTHING, scope).scope.name;
}

/** `resource`: the fields of a ResourceLogs beside its ScopeLogs. */
function membersOf(resource: Uint8Array, names: readonly string[]): ResourceMembers {
  const { resource: decoded } = recordOf(resource, NOTHING);
  return resourceMembers(decoded ?? { attributes: new Map() }, names);
}

function recordOf(resource: Uint8Array, scope: Uint8Array) {
  const request = buildRequest(1, () => ({ resource, scope, record: NOTHING }));
  return new ProtobufOrigin(request, 1).record(0);
}
