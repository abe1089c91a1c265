/** Filters on records that are not encoded yet: the shortcuts say what the envelope says. */

import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  createRecord,
  parseFilter,
  type LogRecord,
  type Value,
  type ValueMap,
} from "tailgate/plugin";
import { viewOf } from "../plugins/processors/view.ts";

const NAMES = [
  ...[
    "tenant",
    "instance_id",
    "service",
    "a",
    "b",
    "a.b",
    "b.a",
    "a.b.c",
    "c",
    "details",
    "metadata",
  ],
  ...[
    "err",
    "exception.type",
    "message",
    "extra_message",
    "module",
    "code.function.name",
    "action",
  ],
  ...[
    "event_type",
    "name",
    "logger",
    "level",
    "label",
    "trace_id",
    "severity_text",
    "event_name",
    "é",
  ],
  ...[
    "details.a",
    "metadata.a",
    "err.type",
    "",
    ".a",
    "a.",
    "__proto__",
    "type",
    "code.stacktrace",
  ],
];

const name = fc.constantFrom(...NAMES);

const TEXTS = [
  ...["x", "acme", "1", "true", "null", "[]", "", "a:x", "tenant:acme", "13t09:27", "09:27:24.5z"],
  ...[
    "http://10.0.0.5/x",
    "K:1",
    "\u212A:1",
    "\u0130d:1",
    "id:1",
    "n\n:x",
    "\u0001:5",
    "u0001:5",
    "n:x",
  ],
];

const leaf = fc.oneof(
  fc.constantFrom<Value>(...TEXTS, 1, -0, 1.5, 1e21, 2n ** 60n, true, null, NaN),
  fc.constantFrom(...TEXTS).map((text) => `before ${text.toUpperCase()} after`),
  fc.uint8Array({ maxLength: 4 }),
);

const { value } = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    leaf,
    // An exception as pino logs it.
    fc.constant<Value>(new Map([...Object.entries({ type: "x", message: "acme" })])),
    fc.array(tie("value"), { maxLength: 2 }),
    fc.dictionary(name, tie("value"), { maxKeys: 3 }).map((map) => new Map(Object.entries(map))),
  ),
}));

const record: fc.Arbitrary<LogRecord> = fc
  .record({
    logger: fc.constantFrom(
      "app",
      "orchestrator.audit",
      "",
      "tenant:Acme",
      "@opentelemetry/winston-transport",
    ),
    body: fc.oneof(leaf, value),
    attributes: fc.dictionary(name, value, { maxKeys: 5 }),
    eventName: fc.constantFrom("", "a:x", "event a.rs:1", "login"),
    service: fc.constantFrom<Value | undefined>(undefined, "acme", "", 1, "A:X"),
    traceId: fc.constantFrom("", "0af7651916cd43dd8448eb211c80319c"),
  })
  .map(({ logger, body, attributes, eventName, service, traceId }) => {
    const made = createRecord({ logger, body, attributes, timeMs: 1_760_347_644_339 });
    const resource =
      service === undefined ? null : { attributes: new Map([["service.name", service]]) };
    return Object.assign(made, { eventName, resource, traceId });
  });

const term = fc.oneof(
  fc.tuple(name, fc.constantFrom(...TEXTS)).map(([field, text]) => `${field}:${quoted(text)}`),
  fc
    .tuple(name, fc.constantFrom("x", "acme", "1", "true", "null", "[]", "10.0.0.5"))
    .map((parts) => parts.join(":")),
  fc.constantFrom(...TEXTS).map(quoted),
);

const filter = fc
  .array(fc.tuple(fc.constantFrom("", "-"), term), { minLength: 1, maxLength: 3 })
  .map((terms) => terms.map((parts) => parts.join("")).join(" "))
  .filter((q) => isFilter(q));

function quoted(text: string): string {
  return `"${text.replaceAll(/["\\]/g, "\\$&")}"`;
}

function isFilter(q: string): boolean {
  try {
    return parseFilter({ q }).key !== "";
  } catch {
    return false;
  }
}

/** Returns terms for the values of attributes, under each name that may find them. */
function termsOf(attributes: ValueMap, path = ""): string[] {
  return [...attributes].flatMap(([key, inner]) => {
    if (inner instanceof Map) return termsOf(inner, `${path}${key}.`);
    if (Array.isArray(inner) || inner instanceof Uint8Array) return [];
    const text = String(inner);
    const names = [key, `${path}${key}`, `details.${key}`, `metadata.${key}`].filter(Boolean);
    if (path === "err.") names.push(`exception.${key}`);
    return names.map((one) => `${one}:${quoted(text)}`).filter(isFilter);
  });
}

test("a filter matches a view as it matches the envelope alone", () => {
  fc.assert(
    fc.property(record, fc.array(filter, { minLength: 1, maxLength: 8 }), (given, filters) => {
      const view = viewOf(given);
      const plain = {
        type: () => view.type(),
        level: () => view.level(),
        logger: () => view.logger(),
        envelope: () => view.envelope(),
        resourceAttributes: () => view.resourceAttributes(),
      };
      for (const q of [...filters, ...termsOf(given.attributes)]) {
        const { matches } = parseFilter({ q });
        expect([q, matches(view, 0)]).toEqual([q, matches(plain, 0)]);
      }
    }),
    { numRuns: 300 },
  );
});
