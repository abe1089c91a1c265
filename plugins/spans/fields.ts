import { z, type JsonValue } from "tailgate/plugin";

/** Longer texts are cut, and fields beyond these limits dropped, so that a span's memory is bounded. */
const TEXT_CHARS_MAX = 2048;
const FIELDS_CHARS_MAX = 8192;
const FIELDS_MAX = 64;
/** Objects nested deeper are stored as JSON text. */
const DEPTH_MAX = 4;

const fieldValue = z.union([z.string(), z.number(), z.boolean()]);

/** A value that OTLP, JSON and trace stores have in common. */
type FieldValue = z.infer<typeof fieldValue>;

/** The JSON form of {@link SpanFields}. */
export const spanFieldsSchema = z.object({
  values: z.array(z.tuple([z.string(), fieldValue])).transform((entries) => new Map(entries)),
  /** Fields dropped because of a limit. */
  dropped: z.number(),
  chars: z.number(),
});

/** The attributes of a span or of a span event by name, bounded in number and size. */
export type SpanFields = z.output<typeof spanFieldsSchema>;

export function createFields(source: Readonly<Record<string, JsonValue>> = {}): SpanFields {
  const fields: SpanFields = { values: new Map(), dropped: 0, chars: 0 };
  addFields(fields, source);
  return fields;
}

/** Adds all members of an object; nested members get dotted names, and null is skipped. */
export function addFields(fields: SpanFields, source: Readonly<Record<string, JsonValue>>): void {
  for (const [name, value] of Object.entries(source)) addField(fields, name, value);
}

export function addField(fields: SpanFields, name: string, value: JsonValue, depth = 1): void {
  if (value === null) return;
  if (typeof value !== "object") return addScalar(fields, name, value);
  if (Array.isArray(value) || depth >= DEPTH_MAX) {
    return addScalar(fields, name, JSON.stringify(value));
  }
  for (const [member, inner] of Object.entries(value)) {
    addField(fields, `${name}.${member}`, inner, depth + 1);
  }
}

/** Adds the fields of `more`, which override those of the same name. */
export function mergeFields(fields: SpanFields, more: SpanFields): void {
  for (const [name, value] of more.values) addScalar(fields, name, value);
  fields.dropped += more.dropped;
}

/** Returns the fields with further ones, which the limits do not apply to. */
export function withFields(
  fields: SpanFields,
  added: Readonly<Record<string, FieldValue>>,
): SpanFields {
  return { ...fields, values: new Map([...fields.values, ...Object.entries(added)]) };
}

/** Returns the first of these fields that is a number or a text that is not empty. */
export function readText({ values }: SpanFields, ...names: readonly string[]): string | undefined {
  for (const name of names) {
    const value = values.get(name);
    if (typeof value === "string" && value !== "") return value;
    if (typeof value === "number") return String(value);
  }
  return undefined;
}

export function readNumber({ values }: SpanFields, name: string): number | undefined {
  const value = values.get(name);
  return typeof value === "number" ? value : undefined;
}

/** Returns the first of these durations in nanoseconds, 0 without one. Each name comes with its unit in nanoseconds. */
export function readDuration(
  fields: SpanFields,
  names: readonly (readonly [string, number])[],
): bigint {
  for (const [name, unitNanos] of names) {
    const duration = readNumber(fields, name);
    if (duration === undefined || duration <= 0) continue;
    const durationNanos = Math.round(duration * unitNanos);
    if (Number.isFinite(durationNanos)) return BigInt(durationNanos);
  }
  return 0n;
}

function addScalar(fields: SpanFields, name: string, value: FieldValue): void {
  const stored = typeof value === "string" ? truncate(value) : value;
  const before = fields.values.get(name);
  const chars =
    before === undefined ? name.length + charsOf(stored) : charsOf(stored) - charsOf(before);
  const isNew = before === undefined;
  if (fields.chars + chars > FIELDS_CHARS_MAX || (isNew && fields.values.size >= FIELDS_MAX)) {
    fields.dropped++;
    return;
  }
  fields.values.set(name, stored);
  fields.chars += chars;
}

function charsOf(value: FieldValue): number {
  return typeof value === "string" ? value.length : 8;
}

/** Replaces half a surrogate pair at the cut. */
function truncate(text: string): string {
  return text.length <= TEXT_CHARS_MAX ? text : text.slice(0, TEXT_CHARS_MAX).toWellFormed();
}
