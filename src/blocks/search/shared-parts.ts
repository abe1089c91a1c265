/** What records share: their resources and scopes, decoded once for each block. */

import { jsonAttributes } from "../../envelope/json-attributes.ts";
import { decodeOtlpProtobuf } from "../../otlp/decode.ts";
import { buildRequest } from "../../otlp/encode.ts";
import type { LogRecord } from "../../plugin/index.ts";
import type { JsonValue } from "../../wire/envelope.ts";
import type { BlockView } from "../block-view.ts";

/** A value of an attribute, as in envelopes. */
export type Member = JsonValue;

export interface SharedResource {
  readonly attributes: ReadonlyMap<string, Member>;
  /** The name of its service; "" if it has none. */
  readonly service: string;
}

const resources = new WeakMap<object, readonly SharedResource[]>();
const scopes = new WeakMap<BlockView, readonly LogRecord["scope"][]>();

const NOTHING = new Uint8Array();

/** Returns the distinct resources of a block. */
export function resourcesOf(view: Pick<BlockView, "resources">): readonly SharedResource[] {
  let known = resources.get(view);
  if (!known) {
    const { distinct } = view.resources;
    known = recordsWith(distinct.length, (index) => [distinct[index]!, NOTHING]).map(
      ({ resource }) => {
        const attributes = resource?.attributes ?? new Map<string, never>();
        const service = attributes.get("service.name");
        return {
          attributes: new Map(Object.entries(jsonAttributes(attributes))),
          service: typeof service === "string" ? service : "",
        };
      },
    );
    resources.set(view, known);
  }
  return known;
}

/** Returns the names of the distinct scopes of a block. */
export function scopeNamesOf(view: BlockView): readonly string[] {
  return scopesOf(view).map(({ name }) => name);
}

/** Returns the distinct scopes of a block. */
export function scopesOf(view: BlockView): readonly LogRecord["scope"][] {
  let known = scopes.get(view);
  if (!known) {
    const { distinct } = view.scopes;
    known = recordsWith(distinct.length, (index) => [NOTHING, distinct[index]!]).map(
      ({ scope }) => scope,
    );
    scopes.set(view, known);
  }
  return known;
}

/** Returns records that have nothing but a resource and a scope. */
function recordsWith(
  length: number,
  partsAt: (index: number) => readonly [resource: Uint8Array, scope: Uint8Array],
): LogRecord[] {
  return Array.from({ length }, (_, index) => {
    const [resource, scope] = partsAt(index);
    const request = buildRequest(1, () => ({ resource, scope, record: NOTHING }));
    return decodeOtlpProtobuf(request)[0]!;
  });
}
