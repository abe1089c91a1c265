import type { RequestIndex } from "./request-index.ts";
import { RESOURCE_LOGS, SCOPE_LOGS } from "./schema.ts";

/** What the records of a request share, as bytes: records with the same resource or scope get the same object. */
export class RequestParts {
  readonly #index: RequestIndex;
  /** By the offset of the resource or scope. */
  readonly #resources: Uint8Array[] = [];
  readonly #scopes: Uint8Array[] = [];

  constructor(index: RequestIndex) {
    this.#index = index;
  }

  /** Returns the fields of a ResourceLogs beside its ScopeLogs. `resource`: as {@link RequestIndex.resource} returns it. */
  resource(resource: number): Uint8Array {
    const { resourceLogs } = this.#index;
    return (this.#resources[resource] ??= this.#without(
      resourceLogs[resource]!,
      resourceLogs[resource + 1]!,
      RESOURCE_LOGS.tags.scopeLogs,
    ));
  }

  /** Returns the fields of a ScopeLogs beside its records. `scope`: as {@link RequestIndex.scope} returns it. */
  scope(scope: number): Uint8Array {
    const { scopeLogs } = this.#index;
    return (this.#scopes[scope] ??= this.#without(
      scopeLogs[scope]!,
      scopeLogs[scope + 1]!,
      SCOPE_LOGS.tags.logRecords,
    ));
  }

  /** Returns all fields of a message but those with the tag `omitted`. */
  #without(start: number, end: number, omitted: number): Uint8Array {
    const { reader } = this.#index;
    const fields: Uint8Array[] = [];
    reader.position = start;
    while (reader.position < end) {
      const from = reader.position;
      const tag = reader.tag(end);
      reader.skip(tag, end, 0);
      if (tag !== omitted) fields.push(reader.bytes.subarray(from, reader.position));
    }
    return fields.length === 1 ? fields[0]! : Buffer.concat(fields);
  }
}
