/** Filters that have something to do with given records. */

import fc from "fast-check";
import { LEVELS, type Envelope, type JsonValue, type LevelRank } from "../../src/wire/envelope.ts";
import type { FilterNode, TextPattern, ValueTest } from "../../src/wire/query/ast.ts";
import { fold } from "../../src/wire/query/fold.ts";

/** What filters are made of. */
export interface Samples {
  /** Names of fields. */
  readonly names: readonly string[];
  /** Texts of values, and parts of them. */
  readonly texts: readonly string[];
  readonly loggers: readonly string[];
}

/** Returns the names and the texts of some records. */
export function samplesOf(
  records: readonly { readonly envelope: Envelope; readonly logger: string }[],
): Samples {
  const names = new Set(["message", "service", "x"]);
  const texts = new Set(["null", "0", "20"]);
  for (const { envelope } of records) {
    const { metadata, ...own } = envelope.data as unknown as { [name: string]: JsonValue };
    collect(own, "", names, texts);
    if (metadata === undefined) continue;
    collect(metadata, "", names, texts);
    collect(metadata, "metadata.", names, texts);
    collect((metadata as { details?: JsonValue }).details ?? null, "", names, texts);
  }
  const loggers = [...new Set(["a", ...records.map(({ logger }) => logger)])];
  return { names: [...names].filter((name) => name !== ""), texts: [...texts], loggers };
}

function collect(value: JsonValue, path: string, names: Set<string>, texts: Set<string>): void {
  if (typeof value !== "object" || value === null) {
    texts.add(String(value));
    return;
  }
  texts.add(JSON.stringify(value));
  for (const [key, inner] of Object.entries(value)) {
    names.add(path + key);
    // The elements of a list are found without their indexes as well.
    if (Array.isArray(value)) collect(inner, path, names, texts);
    collect(inner, `${path}${key}.`, names, texts);
  }
}

/** Returns filters of the whole grammar, many of which match some of the records that the samples are from. */
export function filterNode({ names, texts, loggers }: Samples): fc.Arbitrary<FilterNode> {
  const whole = fc.constantFrom(...texts);
  const part = fc
    .tuple(whole, fc.nat(), fc.integer({ min: 1, max: 12 }))
    .map(([text, start, length]) => {
      const characters = Array.from(text);
      const from = start % Math.max(characters.length, 1);
      return characters.slice(from, from + length).join("");
    })
    .filter((text) => text !== "");
  const anyCase = (text: fc.Arbitrary<string>): fc.Arbitrary<string> =>
    fc
      .tuple(text, fc.constantFrom("as is", "upper", "lower"))
      .map(([given, letters]) =>
        fold(
          letters === "upper"
            ? given.toUpperCase()
            : letters === "lower"
              ? given.toLowerCase()
              : given,
        ),
      );
  const folded = anyCase(part).filter((text) => text !== "");
  const regex = fc
    .tuple(
      part,
      fc.constantFrom("", "^", ".*", "[a-f0-9]+", "(a|b)?", "[^x]"),
      fc.constantFrom("", "$", "+", ".", "|zz"),
    )
    .map(([text, before, after]) => ({
      kind: "regex" as const,
      source: before + escaped(text) + after,
    }));
  const pattern: fc.Arbitrary<TextPattern> = fc.oneof(
    { weight: 4, arbitrary: folded.map((text) => ({ kind: "literal" as const, text })) },
    {
      weight: 2,
      arbitrary: fc
        .array(folded, { minLength: 2, maxLength: 3 })
        .map((parts) => ({ kind: "wildcard" as const, parts })),
    },
    { weight: 1, arbitrary: regex },
  );
  const edge = fc.oneof(fc.constant(""), folded);
  const wildcard = fc
    .tuple(edge, fc.array(folded, { maxLength: 1 }), edge)
    .map(([first, inner, last]) => [first, ...inner, last])
    .filter((parts) => parts.some((one) => one !== ""));
  const number = fc.oneof(
    fc.integer({ min: -3, max: 300 }),
    whole.map(Number).filter((value) => Number.isFinite(value)),
  );
  const test: fc.Arbitrary<ValueTest> = fc.oneof(
    anyCase(whole).map((text) => ({ kind: "equals" as const, text })),
    whole.map((text) => ({ kind: "exact" as const, text })),
    wildcard.map((parts) => ({ kind: "wildcard" as const, parts })),
    fc.constant({ kind: "exists" as const }),
    boundsOf(number).map((bounds) => ({ kind: "range" as const, ...bounds })),
    boundsOf(whole).map((bounds) => ({ kind: "textRange" as const, ...bounds })),
    regex,
  );
  const rank = fc.integer({ min: 0, max: LEVELS.length - 1 }) as fc.Arbitrary<LevelRank>;
  const logger = fc.constantFrom(...loggers);
  const leaf: fc.Arbitrary<FilterNode> = fc.oneof(
    { weight: 4, arbitrary: pattern.map((given) => ({ kind: "text" as const, pattern: given })) },
    {
      weight: 6,
      arbitrary: fc.record(
        {
          kind: fc.constant("field" as const),
          name: fc.oneof(
            { weight: 6, arbitrary: fc.constantFrom(...names) },
            fc.constantFrom(
              "resource.service.name",
              "scope.name",
              "scope.version",
              "level",
              "logger",
            ),
          ),
          test,
          alsoText: folded,
        },
        { requiredKeys: ["kind", "name", "test"] },
      ),
    },
    fc.constantFrom<FilterNode>(
      { kind: "all" },
      { kind: "type", type: "system_log" },
      { kind: "type", type: "audit_log" },
    ),
    fc
      .tuple(rank, rank)
      .filter(([min, max]) => min <= max)
      .map(([min, max]) => ({ kind: "level" as const, min, max })),
    logger.map((name) => ({ kind: "logger" as const, test: { kind: "family" as const, name } })),
    fc.tuple(logger, fc.nat(4)).map(([name, length]) => ({
      kind: "logger" as const,
      test: { kind: "wildcard" as const, parts: [Array.from(name).slice(0, length).join(""), ""] },
    })),
  );
  return fc.letrec<{ node: FilterNode }>((tie) => ({
    node: fc.oneof(
      { maxDepth: 3, depthSize: "small", withCrossShrink: true },
      { weight: 3, arbitrary: leaf },
      {
        weight: 1,
        arbitrary: fc.record({
          kind: fc.constantFrom("and" as const, "or" as const),
          nodes: fc.array(tie("node"), { minLength: 2, maxLength: 3 }),
        }),
      },
      { weight: 1, arbitrary: tie("node").map((node) => ({ kind: "not" as const, node })) },
    ),
  })).node;
}

function boundsOf<T>(value: fc.Arbitrary<T>): fc.Arbitrary<{
  min?: { value: T; isInclusive: boolean };
  max?: { value: T; isInclusive: boolean };
}> {
  const bound = fc.record({ value, isInclusive: fc.boolean() });
  return fc.oneof(
    bound.map((min) => ({ min })),
    bound.map((max) => ({ max })),
    fc.record({ min: bound, max: bound }),
  );
}

/** As RE2 and JavaScript take it. */
function escaped(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}
