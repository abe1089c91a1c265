import type { Envelope, JsonValue } from "tailgate/plugin";

/** The body of a request, with placeholders in its texts. */
export type Template = string | Readonly<Record<string, unknown>>;

/** A record, as placeholders see it. */
export interface TemplateRecord {
  /** Identifies the record across restarts and retries. */
  readonly id: string;
  readonly sequence: number;
  readonly envelope: Envelope;
}

export interface TemplateOptions {
  /** The longest text of a placeholder; a longer one is cut. */
  readonly charactersMax: number;
  /** Whether `&`, `<` and `>` of placeholders become entities. */
  readonly escapesHtml: boolean;
}

const NAMES = [
  "id",
  "sequence",
  "type",
  "timestamp",
  "level",
  "logger",
  "message",
  "module",
  "function",
  "line",
  "action",
  "attributes",
] as const;

const ATTRIBUTE_PREFIX = "attributes.";

/** A doubled brace stands for itself. */
const PLACEHOLDER = /\{\{|\}\}|\{([^{}]*)\}/g;

const WHOLE_PLACEHOLDER = /^\{([^{}]+)\}$/;

/** What a system log has at the top level beside its extras. */
const CALL_FIELDS: ReadonlySet<string> = new Set([
  "timestamp",
  "level",
  "logger",
  "message",
  "module",
  "function",
  "line",
]);

/** Returns why a template is invalid; undefined if it is valid. */
export function findTemplateFlaw(template: unknown): string | undefined {
  if (typeof template === "string") {
    const unknown = Array.from(template.matchAll(PLACEHOLDER), ([, name]) => name).find(
      (name) => name !== undefined && !isKnown(name),
    );
    if (unknown === undefined) return undefined;
    const known = NAMES.map((name) => `{${name}}`).join(", ");
    return `{${unknown}} is not a placeholder; expected one of ${known}, {attributes.NAME}, or {{ for a brace`;
  }
  if (typeof template !== "object" || template === null) return undefined;
  return Object.values(template)
    .map(findTemplateFlaw)
    .find((flaw) => flaw !== undefined);
}

function isKnown(name: string): boolean {
  return (NAMES as readonly string[]).includes(name) || name.startsWith(ATTRIBUTE_PREFIX);
}

/** Returns the body for a record: a text for a text, and JSON for anything else. */
export function fillTemplate(
  template: Template,
  record: TemplateRecord,
  options: TemplateOptions,
): string {
  if (typeof template === "string") return fillText(template, record, options);
  return JSON.stringify(fill(template, record, options));
}

/** Replaces the placeholders of all texts. A text that is nothing but a placeholder becomes its value, of any type. */
function fill(template: unknown, record: TemplateRecord, options: TemplateOptions): unknown {
  if (typeof template === "string") {
    const name = WHOLE_PLACEHOLDER.exec(template)?.[1];
    if (name === undefined) return fillText(template, record, options);
    const value = valueOf(name, record);
    return typeof value === "string" ? shownText(value, options) : (value ?? null);
  }
  if (Array.isArray(template)) return template.map((inner) => fill(inner, record, options));
  if (typeof template !== "object" || template === null) return template;
  return Object.fromEntries(
    Object.entries(template).map(([key, inner]) => [key, fill(inner, record, options)]),
  );
}

function fillText(template: string, record: TemplateRecord, options: TemplateOptions): string {
  return template.replaceAll(PLACEHOLDER, (found: string, name: string | undefined) => {
    if (name === undefined) return found[0]!;
    const value = valueOf(name, record) ?? "";
    return shownText(typeof value === "string" ? value : JSON.stringify(value), options);
  });
}

function shownText(text: string, { charactersMax, escapesHtml }: TemplateOptions): string {
  const cut = text.length > charactersMax ? `${cutText(text, charactersMax - 1)}…` : text;
  if (!escapesHtml) return cut;
  return cut.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** Cuts a text, but no surrogate pair. */
function cutText(text: string, length: number): string {
  return text.slice(0, length).replace(/[\uD800-\uDBFF]$/, "");
}

function valueOf(name: string, { id, sequence, envelope }: TemplateRecord): JsonValue | undefined {
  switch (name) {
    case "id":
      return id;
    case "sequence":
      return sequence;
    case "type":
      return envelope.type;
    case "attributes":
      return Object.fromEntries(attributesOf(envelope));
    default:
      if (!name.startsWith(ATTRIBUTE_PREFIX)) return member(envelope.data, name);
      return nested(attributesOf(envelope), name.slice(ATTRIBUTE_PREFIX.length));
  }
}

/** Returns the extras of a system log, and the metadata of an audit event. */
function attributesOf({ type, data }: Envelope): [string, JsonValue][] {
  if (type === "audit_log") return Object.entries(data.metadata ?? {});
  return Object.entries<JsonValue>(data).filter(([name]) => !CALL_FIELDS.has(name));
}

/** Returns the value at a path with dots. Names may contain dots, too: the longest one counts. */
function nested(entries: readonly [string, JsonValue][], path: string): JsonValue | undefined {
  for (let end = path.length; end > 0; end = path.lastIndexOf(".", end - 1)) {
    const value = entries.find(([name]) => name === path.slice(0, end))?.[1];
    if (value === undefined) continue;
    if (end === path.length) return value;
    if (typeof value !== "object" || value === null) continue;
    const inner = nested(Object.entries(value as object), path.slice(end + 1));
    if (inner !== undefined) return inner;
  }
  return undefined;
}

function member(object: object, name: string): JsonValue | undefined {
  return Object.hasOwn(object, name)
    ? (object as Readonly<Record<string, JsonValue>>)[name]
    : undefined;
}
