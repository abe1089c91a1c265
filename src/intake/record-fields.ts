/** What a record tells about the fields of its envelope without being encoded, so that filters are cheap. */

import { ERR, INGESTED_BY, RENAME_PREFIX, RESERVED } from "../envelope/attributes.ts";
import { tellsCallSite } from "../envelope/call-site.ts";
import type { RecordView, Value } from "../plugin/index.ts";
import type { JsonValue } from "../wire/envelope.ts";

/** What is needed of a view. */
type Fields = Pick<RecordView, "attribute" | "resourceAttribute" | "type">;

/** Fields that are made of several parts of a record, or that may name its logger or its action. */
const COMPOSED: ReadonlySet<string> = new Set([
  ...RESERVED,
  ERR,
  INGESTED_BY,
  "action",
  "details",
  "event.name",
  "event_name",
  "event_type",
  "label",
  "logger.name",
  "metadata",
  "name",
  "severity_text",
  "span_id",
  "trace_id",
]);

const EXCEPTION_PREFIX = "exception.";

/** Whether the field is an attribute of that name, if it is there at all. Computed once for each name. */
const plainNames = new Map<string, boolean>();
const NAMES_MAX = 1024;

function isPlain(name: string): boolean {
  let known = plainNames.get(name);
  if (known === undefined) {
    const [first = ""] = name.split(".", 1);
    known =
      first !== "" &&
      !COMPOSED.has(name) &&
      !COMPOSED.has(first) &&
      !name.startsWith(RENAME_PREFIX) &&
      !tellsCallSite(name) &&
      name.isWellFormed();
    if (plainNames.size >= NAMES_MAX) plainNames.clear();
    plainNames.set(name, known);
  }
  return known;
}

/**
 * Returns whether the envelope of a record has a field with a value that passes; undefined if only the envelope tells.
 * `hasInner`: see {@link hasInnerFields}.
 */
export function testField(
  record: Fields,
  name: string,
  passes: (value: JsonValue) => boolean,
  hasInner: boolean,
): boolean | undefined {
  if (!isPlain(name)) return undefined;
  const value = record.attribute(name);
  const isMatch =
    value === undefined ? testAddedField(record, name, passes) : testValue(value, passes);
  return isMatch === false && hasInner ? undefined : isMatch;
}

/** Whether the fields of one attribute have their short names in the envelope, too: see `fieldValues`. */
export function hasInnerFields(record: Fields): boolean {
  const name = record.type() === "audit_log" ? "details" : "metadata";
  return record.attribute(name) instanceof Map;
}

/** Does the same for a name that no attribute has. */
function testAddedField(
  record: Fields,
  name: string,
  passes: (value: JsonValue) => boolean,
): boolean | undefined {
  if (name.startsWith(EXCEPTION_PREFIX) && record.attribute(ERR) !== undefined) return undefined;
  for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1)) {
    if (record.attribute(name.slice(0, dot)) !== undefined) return undefined;
  }
  if (name !== "service") return false;
  const service = record.resourceAttribute("service.name");
  return typeof service === "string" && service !== "" && passes(service);
}

/** Undefined for values that are something else in envelopes. */
function testValue(value: Value, passes: (value: JsonValue) => boolean): boolean | undefined {
  switch (typeof value) {
    case "string":
      return value.isWellFormed() ? passes(value) : undefined;
    case "boolean":
      return passes(value);
    case "number":
      return Number.isFinite(value) ? passes(value) : undefined;
    default:
      return undefined;
  }
}

/**
 * Texts that can only be in a string of the record, or in the name of its logger or service: they have a colon, which of
 * all that the gateway adds only the time has. Of a record with a body that is no string, its JSON has colons as well.
 */
const COLON_TEXT = /^(?=.*:)(?=.*[^\d.:tz-])[ -~]+$/;

const colonTexts = new Map<string, boolean>();

/** Whether a folded text is one that {@link RawText.mayContain} can exclude. */
export function canRuleOut(text: string): boolean {
  let known = colonTexts.get(text);
  if (known === undefined) {
    known = COLON_TEXT.test(text);
    if (colonTexts.size >= NAMES_MAX) colonTexts.clear();
    colonTexts.set(text, known);
  }
  return known;
}

/**
 * What folds to ASCII, although it is not, as UTF-8 in Latin-1 in lower case: the Kelvin sign (K), long s, the Greek question
 * mark (a semicolon) and varia (a grave accent).
 */
const FOLDED_TO_ASCII = /\u00e2\u0084\u00aa|\u00e5\u00bf|\u00ed\u00be|\u00e1\u00bf\u00af/;

/** The bytes of a record, as Latin-1 in lower case, to look for texts in. */
export class RawText {
  readonly #text: string;
  readonly #isPlain: boolean;

  constructor(bytes: Buffer, start: number, end: number) {
    this.#text = bytes.toString("latin1", start, end).toLowerCase();
    this.#isPlain = !FOLDED_TO_ASCII.test(this.#text);
  }

  /** Returns false if no string of the record contains a text, in any case; see {@link canRuleOut}. */
  mayContain(text: string): boolean {
    return !this.#isPlain || this.#text.includes(text);
  }
}
