/** What records share: their resources and scopes, decoded once for each block. */

import { ProtobufOrigin } from "../../batch/origin.ts";
import type { JsonAttributes } from "../../envelope/json-attributes.ts";
import type { RecordFields } from "../../filter/records.ts";
import { buildRequest } from "../../otlp/encode.ts";
import type { JsonValue } from "../../wire/envelope.ts";
import type { BlockView } from "../block-view.ts";

export interface SharedResource {
  /** With values as in envelopes. */
  readonly attributes: ReadonlyMap<string, JsonValue>;
  /** The name of its service; "" if it has none. */
  readonly service: string;
}

const resources = new WeakMap<object, readonly SharedResource[]>();
const scopes = new WeakMap<object, readonly JsonAttributes[]>();

const NOTHING = new Uint8Array();

/** Returns the distinct resources of a block. */
export function resourcesOf(view: Pick<BlockView, "resources">): readonly SharedResource[] {
  let known = resources.get(view);
  if (!known) {
    known = view.resources.distinct.map((resource) => {
      const origin = originWith(resource, NOTHING);
      const service = origin.record(0).resource?.attributes.get("service.name");
      return {
        attributes: new Map(Object.entries(origin.resourceAttributes(0))),
        service: typeof service === "string" ? service : "",
      };
    });
    resources.set(view, known);
  }
  return known;
}

/** Returns the distinct scopes of a block: their names, versions and attributes. */
function scopesOf(view: Pick<BlockView, "scopes">): readonly JsonAttributes[] {
  let known = scopes.get(view);
  if (!known) {
    known = view.scopes.distinct.map((scope) => originWith(NOTHING, scope).scopeAttributes(0));
    scopes.set(view, known);
  }
  return known;
}

/** Returns the names of the distinct scopes of a block. */
export function scopeNamesOf(view: Pick<BlockView, "scopes">): readonly string[] {
  return view.scopes.distinct.map((scope) => originWith(NOTHING, scope).record(0).scope.name);
}

/** Returns records with the distinct resources of a block and nothing else. */
export function resourceFieldsOf(view: BlockView): RecordFields[] {
  return resourcesOf(view).map(({ attributes }) => {
    const own = Object.fromEntries(attributes);
    return { ...emptyRecord(view), resourceAttributes: () => own };
  });
}

/** Returns records with the distinct scopes of a block and nothing else. */
export function scopeFieldsOf(view: BlockView): RecordFields[] {
  return scopesOf(view).map((own) => ({ ...emptyRecord(view), scopeAttributes: () => own }));
}

function emptyRecord({ type }: BlockView): RecordFields {
  const envelope = { type, data: {} } as unknown as ReturnType<RecordFields["envelope"]>;
  return {
    type: () => type,
    level: () => "INFO",
    logger: () => "",
    envelope: () => envelope,
  };
}

/** Returns a record that has nothing but a resource and a scope. */
function originWith(resource: Uint8Array, scope: Uint8Array): ProtobufOrigin {
  return new ProtobufOrigin(
    buildRequest(1, () => ({ resource, scope, record: NOTHING })),
    1,
  );
}
