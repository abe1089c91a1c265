/** Makes envelopes of a merged block's records straight from its columns. */

import { ProtobufOrigin } from "../../batch/origin.ts";
import { WORD_BYTES, type JsonWords } from "../../envelope/attributes.ts";
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
import { Fragments, NO_FRAGMENT, putWords } from "../columns/fragments.ts";
import type { Op } from "../columns/ops.ts";
import type { Shape, ShapeIndex } from "../columns/shape-index.ts";
import type { DecodedValues } from "../columns/values.ts";
import { templateOf, type Template, type TemplateStep } from "./template.ts";
import { viewed, type ValueJson, type ViewedValues } from "./value-json.ts";

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

/** What the values of a column make of an envelope. */
interface Derived {
  readonly codes: Uint8Array | Uint16Array | undefined;
  /** What the distinct values make; undefined if each value is stored by itself. */
  readonly fragments: Fragments | undefined;
  readonly write: ValueJson;
}

/** A step of a template for the records of a shape of the block. */
interface Step extends Derived {
  readonly constant: JsonWords;
  /** Where the value of the shape's first record is in its column; those of the others follow. */
  readonly start: number;
}

interface ShapeTemplate {
  readonly template: Template;
  readonly steps: readonly Step[];
  /** The ends of envelopes by the codes of their resources. */
  readonly ends: (Uint8Array | undefined)[];
}

/** Scopes that make the same envelopes but for the logger's name. */
interface ScopeKind {
  /** The logger of one of them. */
  readonly scope: LoggerName;
  readonly known: Map<string, Template | null>;
  /** By shape; null if the records are left to the plain path. */
  readonly templates: (ShapeTemplate | null | undefined)[];
}

/** The envelopes of one block. Templates and what distinct values make are kept with it. */
export class EnvelopeRenderer {
  readonly #source: EnvelopeSource;
  readonly #ops: readonly Op[];
  readonly #rules: EnvelopeRules;
  readonly #loggers: LoggerNames;
  readonly #columns: DerivedColumns;
  readonly #opIds: readonly number[];
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
    this.#columns = new DerivedColumns(source.columns);
    this.#opIds = ops.map(idOfOp);
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
    if (!putSteps(writer, cached.steps, shapes.rank[index]!)) return false;
    const resource = resources.of[index]!;
    writer.raw((cached.ends[resource] ??= cached.template.end(this.#membersOf(resource))));
    return true;
  }

  #templateOf(shape: number, index: number): ShapeTemplate | null {
    const { shapes, scopes } = this.#source;
    const scope = scopes.of[index]!;
    const kind = (this.#kinds[scope] ??= this.#kindOf(scopes.distinct[scope]!));
    let template = kind.templates[shape];
    if (template === undefined) {
      template = this.#bind(shapes.shapes[shape]!, kind);
      kind.templates[shape] = template;
    }
    return template;
  }

  /** Returns the template of a shape with the values of this block. */
  #bind({ ops, columns, slots }: Shape, { scope, known }: ScopeKind): ShapeTemplate | null {
    const key = ops.map((op) => this.#opIds[op]).join();
    let template = known.get(key);
    if (template === undefined) {
      const { resourceAttributes } = this.#rules;
      const list = ops.map((op) => this.#ops[op]!);
      template = templateOf(list, { scope, resourceAttributes }) ?? null;
      if (known.size >= TEMPLATES_MAX) known.clear();
      known.set(key, template);
    }
    if (template === null) return null;
    const steps = template.steps.map((step): Step => {
      const { codes, fragments, write } = this.#columns.derived(columns[step.slot]!, step);
      return { constant: step.constant, start: slots[step.slot]!, codes, fragments, write };
    });
    return { template, steps, ends: [] };
  }

  #kindOf(bytes: Uint8Array): ScopeKind {
    const scope = this.#loggers.of(scopeName(bytes));
    const { resourceAttributes } = this.#rules;
    const name = JSON.stringify([scope.nameAttributes, scope.numbering, resourceAttributes]);
    let kind = this.#kindsByName.get(name);
    if (kind === undefined) {
      kind = { scope, known: templatesOf(name), templates: [] };
      this.#kindsByName.set(name, kind);
    }
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
    const { constant, start, codes, fragments, write } = steps[index]!;
    if (constant.length > 0) writer.words(constant);
    const item = start + rank;
    const value = codes === undefined ? item : codes[item]!;
    if (fragments === undefined) {
      if (!write(writer, value)) return false;
      continue;
    }
    const fragment = fragments.startOf(value);
    if (fragment === NO_FRAGMENT) return false;
    const bytes = fragments.lengths[value]!;
    writer.reserve(bytes + WORD_BYTES);
    putWords(writer.view, writer.position, fragments.words, fragment, bytes);
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

/** Makes one fragment at a time. */
const scratch = JsonWriter.scratch(Infinity);

/** The values of a block's columns, and what templates derive of them. */
class DerivedColumns {
  readonly #columns: readonly (DecodedValues | undefined)[];
  readonly #viewed: (ViewedValues | undefined)[] = [];
  readonly #derived: (Map<string, Derived> | undefined)[] = [];

  constructor(columns: readonly (DecodedValues | undefined)[]) {
    this.#columns = columns;
  }

  derived(column: number, { name, derive }: TemplateStep): Derived {
    const known = (this.#derived[column] ??= new Map());
    let derived = known.get(name);
    if (derived === undefined) {
      const values = (this.#viewed[column] ??= viewed(this.#columns[column]!));
      known.set(name, (derived = derivedOf(values, derive(values))));
    }
    return derived;
  }
}

function derivedOf({ codes, distinct }: ViewedValues, write: ValueJson): Derived {
  if (codes === undefined) return { codes, fragments: undefined, write };
  const fragments = new Fragments(distinct, (value) => {
    scratch.position = 0;
    return write(scratch, value) ? scratch.buffer.subarray(0, scratch.position) : undefined;
  });
  return { codes, fragments, write };
}

/** So many templates of a kind of scope are kept, of so many kinds. */
const TEMPLATES_MAX = 4096;
const KINDS_MAX = 64;

/** The templates of this thread, by the kinds of scopes and by the ids of operations: most blocks have the same ones. */
const templates = new Map<string, Map<string, Template | null>>();

function templatesOf(kind: string): Map<string, Template | null> {
  let known = templates.get(kind);
  if (known === undefined) {
    if (templates.size >= KINDS_MAX) templates.clear();
    templates.set(kind, (known = new Map()));
  }
  return known;
}

/** More operations than records have. Beyond that, they get new ids, and templates are made again. */
const OPS_MAX = 1 << 16;
const opIds = new Map<string, number>();
let lastOpId = 0;

function idOfOp({ tag, kind, key, column }: Op): number {
  const text = JSON.stringify([tag, kind, key, column < 0]);
  let id = opIds.get(text);
  if (id === undefined) {
    if (opIds.size >= OPS_MAX) opIds.clear();
    opIds.set(text, (id = ++lastOpId));
  }
  return id;
}

/** More scopes than any program has. Beyond that, the cache is cleared. */
const SCOPES_MAX = 1000;
/** Larger ones are not cached. */
const SCOPE_BYTES_MAX = 1000;

/** The names of scopes by their bytes: the blocks of a journal have the same ones. */
const scopeNames = new Map<string, string>();

/** `scope`: the fields of a ScopeLogs beside its records. */
function scopeName(scope: Uint8Array): string {
  const key = Buffer.from(scope).toString("latin1");
  let name = scopeNames.get(key);
  if (name === undefined) {
    ({ name } = recordOf(NOTHING, scope).scope);
    if (scopeNames.size >= SCOPES_MAX) scopeNames.clear();
    if (key.length <= SCOPE_BYTES_MAX) scopeNames.set(key, name);
  }
  return name;
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
