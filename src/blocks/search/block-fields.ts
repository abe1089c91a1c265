/**
 * The places of the values of a block's envelopes: which columns surely have those of a field, and of which records only the
 * envelopes tell, because the rules of envelopes (src/envelope) show their attributes in another way.
 */

import { ERR, RENAME_PREFIX, RESERVED } from "../../envelope/attributes.ts";
import {
  FILE_ATTRIBUTES,
  FUNCTION_ATTRIBUTES,
  lastComponent,
  LINE_ATTRIBUTES,
  lineOf,
  moduleOfPath,
  NAMESPACE_ATTRIBUTE,
  tellsCallSite,
} from "../../envelope/call-site.ts";
import { EVENT_NAME_ATTRIBUTE, meaningfulEventName } from "../../envelope/encoder.ts";
import { DEFAULT_LOGGER_NAMES, rankOfText } from "../../envelope/prefix.ts";
import { isoOfMicros } from "./iso-times.ts";
import { LEVELS, type JsonValue } from "../../wire/envelope.ts";
import type { BlockView, Column, ColumnInfo, ColumnPlace } from "../block-view.ts";
import { RecordSet } from "./record-set.ts";
import { resourcesOf, scopeNamesOf } from "./shared-parts.ts";
import {
  addInexact,
  columnSource,
  derivedList,
  derivedSource,
  exactInteger,
  idSource,
  lateSource,
  listSource,
  scalarsOf,
  without,
  type Source,
  type ValueList,
} from "./sources.ts";
import type { Scalar } from "./value-matcher.ts";

/** Where values of envelopes are. */
export interface Sources {
  readonly sources: readonly Source[];
  /** Records of which a value in the sources may not be one of the envelope. */
  readonly unsure: RecordSet;
  /** Records that may have other values as well. */
  readonly unknown: RecordSet;
}

/** The places of the values of a field. */
export interface FieldSources extends Sources {
  /** Records of which the field surely has a list or a map. */
  readonly containers: RecordSet;
  /** Records of which the field may have a list, whose JSON is in no source. */
  readonly lists: RecordSet;
  /** The same of maps. */
  readonly maps: RecordSet;
}

/** Returns what an attribute tells of the call site; undefined for nothing. */
type DeriveSite = (value: Scalar, key: string) => Scalar | undefined;

/** An attribute's column. */
interface AttributeColumn {
  readonly index: number;
  readonly info: ColumnInfo;
  readonly key: string;
  /** Its path, joined by dots. */
  readonly name: string;
}

/** Attributes that name the logger of a record whose scope has no name or that of a bridge; then they are no members. */
const NAMING_ATTRIBUTES: ReadonlySet<string> = new Set(["logger.name", "name", "label"]);

/** Fields that audit events have as well. */
const COMMON_FIELDS: ReadonlySet<string> = new Set(["timestamp", "level", "logger"]);

const METADATA = "metadata";
/** What the names of fields may leave out. */
const SHORTENED = ["metadata.", "metadata.details."];
/** Members that a map `err` may become. */
const EXCEPTION_PREFIX = "exception.";
/** The index of an element of a list. */
const LIST_INDEX = /\.\d+(?:\.|$)/;

export class BlockFields {
  /** Records that no column has values of. */
  readonly unread: RecordSet;
  readonly #view: BlockView;
  readonly #isUsual: boolean;
  readonly #attributes: readonly AttributeColumn[];
  readonly #columns = new Map<number, Column>();
  readonly #fields = new Map<string, FieldSources>();
  #texts: Sources | undefined;
  #bodies: { bodied: RecordSet; plain: RecordSet } | undefined;

  constructor(view: BlockView) {
    this.#view = view;
    this.#isUsual = !view.directory.hasUnusualFolding;
    this.unread = RecordSet.of(view.length, view.exceptions);
    this.#attributes = view.columns
      .map((info, index) => ({ index, info, key: info.path[0] ?? "", name: info.path.join(".") }))
      .filter(({ info }) => info.place === "attribute");
  }

  /** Returns where all values of envelopes are that are no lists and no maps. */
  get texts(): Sources {
    return (this.#texts ??= this.#allTexts());
  }

  /** Returns where the values of a field are: one of `data`, not of the resource or the scope. */
  field(name: string): FieldSources {
    let found = this.#fields.get(name);
    if (!found) this.#fields.set(name, (found = this.#sourcesOf(name)));
    return found;
  }

  #allTexts(): Sources {
    const unknown = this.unread.copy();
    const attributes = this.#attributes
      .filter(({ key, info }) => !tellsCallSite(key) && !isEmptyKind(info))
      .map(({ index, info }) => columnSource(info, () => this.#column(index), this.#isUsual));
    const members = this.#view.resourceMembers.flatMap((name) => this.#memberOf(name, "", unknown));
    const fixed = ["timestamp", "level", "logger", "message", "module", "function", "line"];
    const added = ["event_name", "trace_id", "span_id", "service"];
    const sources = [
      ...fixed.flatMap((name) => this.#fixed(name, unknown)),
      ...attributes,
      ...added.flatMap((name) => this.#added(name)),
      ...members,
    ];
    this.#addSeverityTexts(unknown);
    return { sources, unsure: this.#none(), unknown };
  }

  #sourcesOf(name: string): FieldSources {
    const unknown = this.unread.copy();
    const isKnown = this.#view.type === "system_log" || COMMON_FIELDS.has(name);
    const fixed = isKnown ? this.#fixed(name, unknown) : [];
    if (fixed.length > 0) {
      return {
        sources: fixed,
        unsure: this.#none(),
        unknown,
        containers: this.#none(),
        lists: this.#none(),
        maps: this.#none(),
      };
    }
    const found = this.#attributeSources(name, unknown);
    const sources = [...found.sources, ...this.#added(name)];
    for (const member of this.#view.resourceMembers) {
      if (isBelow(name, member)) {
        sources.push(...this.#memberOf(member, name.slice(member.length), unknown));
      }
    }
    if (name === "severity_text") this.#addSeverityTexts(unknown);
    return { ...found, sources, unknown };
  }

  /** Members of a system log that every envelope has. */
  #fixed(name: string, unknown: RecordSet): Source[] {
    const view = this.#view;
    switch (name) {
      case "timestamp":
        addLateTimes(view.times, unknown);
        return [listSource(() => listOfRecords(isoOfMicros(view.times)), "time")];
      case "level":
        return [listSource(() => ({ values: LEVELS, codes: view.ranks, records: undefined }))];
      case "logger":
        return [
          listSource(() => ({
            values: view.directory.loggers,
            codes: view.loggers,
            records: undefined,
          })),
        ];
      case "message":
        return this.#messages(unknown);
      case "module":
        return this.#callSite([...FILE_ATTRIBUTES, NAMESPACE_ATTRIBUTE], "", (value, key) => {
          if (typeof value !== "string" || value === "") return undefined;
          return key === NAMESPACE_ATTRIBUTE ? lastComponent(value) : moduleOfPath(value);
        });
      case "function":
        return this.#callSite(FUNCTION_ATTRIBUTES, "", (value) =>
          typeof value === "string" && value !== "" ? lastComponent(value) : undefined,
        );
      case "line":
        return this.#callSite(LINE_ATTRIBUTES, 0, (value) =>
          value === null ? undefined : lineOf(value),
        );
      default:
        return [];
    }
  }

  /**
   * The values of the first of some attributes that tells a part of the call site; `derive` returns undefined if a value
   * tells nothing. All other records have the value `none`.
   */
  #callSite(keys: readonly string[], none: Scalar, derive: DeriveSite): Source[] {
    const values = (): (Scalar | undefined)[] => [
      none,
      ...keys.flatMap((key) =>
        this.#attributes
          .filter((column) => column.key === key)
          .flatMap(({ index }) =>
            scalarsOf(this.#column(index)).map((value) => derive(value, key)),
          ),
      ),
    ];
    return [lateSource(values, () => this.#callSites(keys, none, derive))];
  }

  #callSites(keys: readonly string[], none: Scalar, derive: DeriveSite): Source[] {
    const told = this.#none();
    /** Records of which a value that is no text tells that nothing is known. */
    const untold = this.#none();
    const sources: Source[] = [];
    for (const key of keys) {
      const before = told.copy().union(untold);
      for (const { index, info } of this.#attributes.filter((column) => column.key === key)) {
        const isLine = keys === LINE_ATTRIBUTES;
        const isScalar = !info.isListed && info.path.length === 1 && !isEmptyKind(info);
        if (!isScalar || (isLine ? info.kind === "bytes" : info.kind !== "text")) {
          if (isLine) untold.addAll(this.#column(index).records);
          continue;
        }
        const source = derivedSource(
          () => this.#column(index),
          (value) => derive(value, key),
        );
        sources.push(without(() => before, source));
        told.union(recordsOf(source.list(), told.size));
      }
    }
    const rest = told.complement().subtract(this.unread);
    if (!rest.isEmpty) {
      sources.push(
        listSource(() => ({
          values: [none],
          codes: new Uint8Array(rest.count),
          records: rest.indexes(),
        })),
      );
    }
    return sources;
  }

  #messages(unknown: RecordSet): Source[] {
    const sources: Source[] = [];
    let plainBodies = 0;
    for (const [index, info] of this.#view.columns.entries()) {
      if (info.place !== "body" || !isPlainBody(info)) continue;
      plainBodies += info.length;
      const read = (): Column => this.#column(index);
      if (info.kind === "int") addInexact(read(), unknown);
      sources.push(
        info.kind === "text"
          ? columnSource(info, read, this.#isUsual)
          : derivedSource(read, (value) => {
              const exact = info.kind === "int" ? exactInteger(value) : value;
              return exact === undefined ? undefined : String(exact);
            }),
      );
    }
    if (plainBodies === this.#view.length - this.#view.exceptions.length) return sources;
    const { bodied, plain } = this.#bodyRecords();
    unknown.union(bodied.copy().subtract(plain));
    // Without a body, the event's name is the message.
    const rest = bodied.copy().complement().subtract(this.unread);
    const named = this.#none();
    for (const column of this.#placed("event_name")) named.addAll(column.records);
    named.union(this.#covered(EVENT_NAME_ATTRIBUTE)).intersect(rest);
    unknown.union(named);
    const empty = rest.subtract(named).indexes();
    if (empty.length > 0) {
      const codes = new Uint8Array(empty.length);
      sources.push(listSource(() => ({ values: [""], codes, records: empty })));
    }
    return sources;
  }

  /** Returns the records that have a body other than null, and those of which it is a single value. */
  #bodyRecords(): { bodied: RecordSet; plain: RecordSet } {
    if (this.#bodies) return this.#bodies;
    const bodied = this.#none();
    const plain = this.#none();
    for (const column of this.#placed("body")) {
      const { path, isListed, kind } = column.info;
      const isRoot = path.length === 0 && !isListed;
      if (isRoot && kind === "null") continue;
      bodied.addAll(column.records);
      if (isPlainBody(column.info)) plain.addAll(column.records);
    }
    return (this.#bodies = { bodied, plain });
  }

  /** Members that the gateway adds unless an attribute has their name. */
  #added(name: string): Source[] {
    switch (name) {
      case "trace_id":
      case "span_id":
        return this.#view.columns.flatMap(({ place }, index) =>
          place === name
            ? [
                without(
                  () => this.#covered(name),
                  idSource(() => this.#column(index)),
                ),
              ]
            : [],
        );
      case "event_name": {
        const hidden = (): RecordSet => {
          const { bodied } = this.#bodyRecords();
          return bodied.copy().complement().union(this.#covered(name));
        };
        return this.#placed(name).map((column) =>
          without(
            hidden,
            derivedSource(
              () => column,
              (value) => meaningfulEventName(String(value)) || undefined,
            ),
          ),
        );
      }
      case "service":
        return this.#view.type === "system_log" ? [this.#service()] : [];
      default:
        return [];
    }
  }

  #service(): Source {
    const services = resourcesOf(this.#view).map(({ service }) => service || undefined);
    return without(
      () => this.#covered("service").union(this.unread),
      listSource(() => ({ values: services, codes: this.#view.resources.of, records: undefined })),
    );
  }

  /** The values of an attribute of the resource that envelopes show, at a path that starts with a dot, or with "" all of them. */
  #memberOf(name: string, path: string, unknown: RecordSet): Source[] {
    const { of } = this.#view.resources;
    const members: readonly (JsonValue | undefined)[] = resourcesOf(this.#view).map(
      ({ attributes }) => attributes.get(name),
    );
    const hidden = this.#covered(name).union(this.unread);
    const isComplex = members.map((member) => typeof member === "object" && member !== null);
    if (isComplex.includes(true)) {
      for (let record = 0; record < of.length; record++) {
        if (isComplex[of[record]!] === true && !hidden.has(record)) unknown.add(record);
      }
    }
    if (path !== "") return [];
    const values = members.map((member) => (typeof member === "object" ? undefined : member));
    return [
      without(
        () => hidden,
        listSource(() => ({ values, codes: of, records: undefined })),
      ),
    ];
  }

  /** A severity text is shown if neither it nor the severity number tells the level. */
  #addSeverityTexts(unknown: RecordSet): void {
    for (const column of this.#placed("severity_text")) {
      const list = derivedList(column, (value) => {
        const text = String(value).trim();
        return text === "" || rankOfText(text) !== undefined ? undefined : text;
      });
      if (list.values.some((text) => text !== undefined)) {
        unknown.union(recordsOf(list, unknown.size));
      }
    }
  }

  /** The columns of attributes that the envelope shows under a name. */
  #attributeSources(name: string, unknown: RecordSet): FieldSources {
    const sources: Source[] = [];
    const containers = this.#none();
    const lists = this.#none();
    const maps = this.#none();
    const unsure = this.#none();
    const byPath = new Map<string, RecordSet>();
    for (const attribute of this.#attributes) {
      const { index, info, key } = attribute;
      if (tellsCallSite(key)) continue;
      if (this.#mayBeElsewhere(attribute, name)) unknown.addAll(this.#column(index).records);
      const shown = this.#shownName(attribute);
      if (shown === undefined) continue;
      const depth = depthAt(info.path, shown, name);
      if (depth === 0) continue;
      const column = this.#column(index);
      const isWhole = depth === info.path.length;
      if (isWhole && !isEmptyKind(info)) {
        if (info.kind === "int") addInexact(column, unknown);
        sources.push(columnSource(info, () => column, this.#isUsual));
        if (info.isListed) {
          lists.addAll(column.records);
          // The list exists, but null may also be a member of a map in a list.
          if (info.kind === "null") unknown.addAll(column.records);
        }
      } else {
        containers.addAll(column.records);
        if (info.isListed || info.kind === "emptyList") lists.addAll(column.records);
        if (!isWhole || info.kind === "emptyMap") maps.addAll(column.records);
      }
      const path = JSON.stringify(info.path.slice(0, depth));
      let ofPath = byPath.get(path);
      if (!ofPath) byPath.set(path, (ofPath = this.#none()));
      ofPath.addAll(column.records);
    }
    addShared([...byPath.values()], unsure);
    if (NAMING_ATTRIBUTES.has(name)) unsure.union(this.#nameless());
    return { sources, unsure, unknown, containers, lists, maps };
  }

  /** Returns the name of an attribute's column in envelopes; undefined if only the envelope tells. */
  #shownName({ key, info, name }: AttributeColumn): string | undefined {
    if (key === ERR && info.path.length > 1) return undefined;
    if (!RESERVED.has(key)) return name;
    return this.#hasLookalikes ? undefined : RENAME_PREFIX + name;
  }

  get #hasLookalikes(): boolean {
    return this.#attributes.some(({ key }) => key.startsWith(RENAME_PREFIX));
  }

  /** Whether records with that attribute may have another field of that name than {@link #shownName} tells. */
  #mayBeElsewhere(attribute: AttributeColumn, name: string): boolean {
    const { key, info, name: own } = attribute;
    const isList = info.isListed || info.kind === "emptyList";
    const isNested = info.path.length > 1 || isList;
    if (key === ERR && isNested) {
      return isBelow(name, ERR) || name.startsWith(EXCEPTION_PREFIX);
    }
    if (RESERVED.has(key) && this.#hasLookalikes && name.startsWith(RENAME_PREFIX)) return true;
    if (key === METADATA && isNested) {
      return SHORTENED.some((prefix) => {
        const whole = prefix + name;
        return isBelow(own, whole) || (isList && isBelow(whole, own));
      });
    }
    return isList && name !== own && name.startsWith(`${key}.`) && LIST_INDEX.test(name);
  }

  /** Returns the records whose scope has no name or that of a bridge. */
  #nameless(): RecordSet {
    const { of } = this.#view.scopes;
    const isNameless = scopeNamesOf(this.#view).map(
      (name) => DEFAULT_LOGGER_NAMES.of(name).nameAttributes !== undefined,
    );
    const records = this.#none();
    for (let record = 0; record < of.length; record++) {
      if (isNameless[of[record]!] === true) records.add(record);
    }
    return records;
  }

  /** Returns the records that have an attribute. */
  #covered(key: string): RecordSet {
    const records = this.#none();
    for (const attribute of this.#attributes) {
      if (attribute.key === key) records.addAll(this.#column(attribute.index).records);
    }
    return records;
  }

  #placed(place: ColumnPlace): Column[] {
    return this.#view.columns.flatMap((info, index) =>
      info.place === place ? [this.#column(index)] : [],
    );
  }

  #column(index: number): Column {
    let column = this.#columns.get(index);
    if (!column) this.#columns.set(index, (column = this.#view.column(index)));
    return column;
  }

  #none(): RecordSet {
    return RecordSet.none(this.#view.length);
  }
}

/** Whether a body is a single value, whose text is the message. */
function isPlainBody(info: ColumnInfo): boolean {
  return info.path.length === 0 && !info.isListed && info.kind !== "null" && !isEmptyKind(info);
}

function isEmptyKind({ kind }: ColumnInfo): boolean {
  return kind === "emptyList" || kind === "emptyMap";
}

/** Whether a name is that of a member or leads to something below it. */
function isBelow(name: string, member: string): boolean {
  return name.startsWith(member) && (name.length === member.length || name[member.length] === ".");
}

/** Returns how many keys of a path the name leads to, if it leads to that value or to one around it; 0 otherwise. */
function depthAt(path: readonly string[], shown: string, name: string): number {
  if (shown === name) return path.length;
  if (!isBelow(shown, name)) return 0;
  // The name may end within a key that contains dots.
  let end = shown.length - path.join(".").length;
  for (const [index, key] of path.entries()) {
    end += key.length + (index === 0 ? 0 : 1);
    if (end === name.length) return index + 1;
  }
  return 0;
}

/** Adds the records that more than one of the sets has. */
function addShared(sets: readonly RecordSet[], shared: RecordSet): void {
  if (sets.length < 2) return;
  const seen = RecordSet.none(shared.size);
  for (const set of sets) {
    shared.union(set.copy().intersect(seen));
    seen.union(set);
  }
}

/** Adds the records of times after the year 2255, of which a double has not all digits. */
function addLateTimes(times: Float64Array, unknown: RecordSet): void {
  for (let record = 0; record < times.length; record++) {
    if (!Number.isSafeInteger(times[record])) unknown.add(record);
  }
}

function recordsOf({ values, codes, records }: ValueList, size: number): RecordSet {
  const found = RecordSet.none(size);
  for (let item = 0; item < (codes?.length ?? values.length); item++) {
    if (values[codes ? codes[item]! : item] !== undefined)
      found.add(records ? records[item]! : item);
  }
  return found;
}

function listOfRecords(values: ValueList["values"]): ValueList {
  return { values, codes: undefined, records: undefined };
}
