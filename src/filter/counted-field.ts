/** The values that records are counted by, under the names that the filter language has for their fields. */

import { facetValue, FACETS, type Facet } from "../wire/fields.ts";
import type { JsonValue } from "../wire/envelope.ts";
import { FieldPath, fieldValues, valuesAtPath } from "./fields.ts";
import type { RecordFields } from "./records.ts";

const RESOURCE = "resource.";
const SCOPE = "scope.";

/** A field whose values are counted: any one of the filter language. */
export class CountedField {
  readonly name: string;
  readonly #path: FieldPath;
  /** Below the resource or the scope; undefined for all other names. */
  readonly #sharedPath: FieldPath | undefined;

  constructor(name: string) {
    this.name = name;
    this.#path = new FieldPath(name);
    const prefix = [RESOURCE, SCOPE].find((one) => name.startsWith(one));
    this.#sharedPath = prefix === undefined ? undefined : new FieldPath(name.slice(prefix.length));
  }

  /** Undefined if the field is not counted by one text of each record only. */
  get facet(): Facet | undefined {
    return FACETS.find((facet) => facet === this.name);
  }

  /** True if the resource or the scope may have it. */
  get isShared(): boolean {
    return this.#sharedPath !== undefined;
  }

  /** Returns the values of a record as texts; of a list, each element. Null and objects do not count. */
  valuesOf(records: RecordFields, index: number): string[] {
    const { name, facet } = this;
    if (name === "type") return [records.type(index)];
    if (name === "level") return [records.level(index)];
    if (name === "logger") return [records.logger(index)];
    if (facet !== undefined) {
      const value = facetValue(records.envelope(index), facet);
      return value === undefined ? [] : [value];
    }
    const values = fieldValues(records.envelope(index), this.#path);
    if (this.#sharedPath !== undefined) {
      const shared = name.startsWith(RESOURCE)
        ? records.resourceAttributes?.(index)
        : records.scopeAttributes?.(index);
      values.push(...valuesAtPath(shared, this.#sharedPath));
    }
    return textsOf(values);
  }
}

function textsOf(values: readonly JsonValue[]): string[] {
  return values.flatMap((value) => {
    if (Array.isArray(value)) return textsOf(value as readonly JsonValue[]);
    return typeof value === "object" ? [] : [String(value)];
  });
}
