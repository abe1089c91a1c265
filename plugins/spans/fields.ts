import type { JsonValue } from "tailgate/plugin";
import { z } from "tailgate/plugin";

/** How much of a text is kept, and how much of all texts together: what a span holds in memory is bounded. */
const TEXT_CHARS_MAX = 2048;
const FIELDS_CHARS_MAX = 8192;
const FIELDS_MAX = 64;
/** What is nested deeper is kept as JSON. */
const DEPTH_MAX = 4;

const fieldValue = z.union([z.string(), z.number(), z.boolean()]);

/** A value in the forms that OTLP, JSON and trace stores share. */
type FieldValue = z.infer<typeof fieldValue>;

/** The attributes of a span or of an event of it, as JSON has them. */
export const fieldsSchema = z.object({
  values: z.array(z.tuple([z.string(), fieldValue])).transform((entries) => new Map(entries)),
  /** How many are not there, because there were too many. */
  dropped: z.number(),
  chars: z.number(),
});

/** Attributes by name, bounded in number and size. */
export type Fields = z.output<typeof fieldsSchema>;

export function fieldsOf(source: Readonly<Record<string, JsonValue>> = {}): Fields {
  const fields: Fields = { values: new Map(), dropped: 0, chars: 0 };
  putAll(fields, source);
  return fields;
}

/** Members of objects get names with dots; what is null is not there. */
export function putAll(fields: Fields, source: Readonly<Record<string, JsonValue>>): void {
  for (const [name, value] of Object.entries(source)) put(fields, name, value);
}

export function put(fields: Fields, name: string, value: JsonValue, depth = 1): void {
  if (value === null) return;
  if (typeof value !== "object") return putScalar(fields, name, value);
  if (Array.isArray(value) || depth >= DEPTH_MAX) {
    return putScalar(fields, name, JSON.stringify(value));
  }
  for (const [member, inner] of Object.entries(value)) {
    put(fields, `${name}.${member}`, inner, depth + 1);
  }
}

/** What `more` has counts, where both have it. */
export function merge(fields: Fields, more: Fields): void {
  for (const [name, value] of more.values) putScalar(fields, name, value);
  fields.dropped += more.dropped;
}

/** With what we say of them ourselves, for which there is always room. */
export function marked(fields: Fields, marks: Readonly<Record<string, FieldValue>>): Fields {
  return { ...fields, values: new Map([...fields.values, ...Object.entries(marks)]) };
}

/** A text that is there and not empty. */
export function textIn({ values }: Fields, ...names: readonly string[]): string | undefined {
  for (const name of names) {
    const value = values.get(name);
    if (typeof value === "string" && value !== "") return value;
    if (typeof value === "number") return String(value);
  }
  return undefined;
}

export function numberIn({ values }: Fields, name: string): number | undefined {
  const value = values.get(name);
  return typeof value === "number" ? value : undefined;
}

/** In nanoseconds, of the first of these names that is there, with its unit; 0 where none is. */
export function durationIn(fields: Fields, names: readonly (readonly [string, number])[]): bigint {
  for (const [name, unitNanos] of names) {
    const duration = numberIn(fields, name);
    if (duration === undefined || duration <= 0) continue;
    const durationNanos = Math.round(duration * unitNanos);
    if (Number.isFinite(durationNanos)) return BigInt(durationNanos);
  }
  return 0n;
}

function putScalar(fields: Fields, name: string, value: FieldValue): void {
  const kept = typeof value === "string" ? cut(value) : value;
  const before = fields.values.get(name);
  const chars = before === undefined ? name.length + sizeOf(kept) : sizeOf(kept) - sizeOf(before);
  const isNew = before === undefined;
  if (fields.chars + chars > FIELDS_CHARS_MAX || (isNew && fields.values.size >= FIELDS_MAX)) {
    fields.dropped++;
    return;
  }
  fields.values.set(name, kept);
  fields.chars += chars;
}

function sizeOf(value: FieldValue): number {
  return typeof value === "string" ? value.length : 8;
}

/** A cut in the middle of a character leaves no half of it. */
function cut(text: string): string {
  return text.length <= TEXT_CHARS_MAX ? text : text.slice(0, TEXT_CHARS_MAX).toWellFormed();
}
