import { isScalar, LineCounter, parseDocument, visit, type Document } from "yaml";
import { TailgateError, textOf } from "../errors.ts";
import { Problems } from "./problems.ts";

/**
 * Parses the text of a configuration file; `name` stands for it in messages.
 * @throws TailgateError CONFIG_INVALID with line and column.
 */
export function parseConfig(text: string, name: string): Readonly<Record<string, unknown>> {
  const lines = new LineCounter();
  const document = parseDocument(text, { prettyErrors: false, lineCounter: lines });
  const problems = new Problems();
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${name}:${line}:${col}`;
  };
  // The parser goes on after an error, and the first one is often the reason of the others.
  for (const { message, pos } of [...document.errors, ...document.warnings].slice(0, ERRORS_MAX)) {
    problems.add(place(pos[0]), message);
  }
  refuseOddStructure(document, problems, place);
  problems.throwIfAny(name);
  return mapping(valuesOf(document, name), name);
}

const ERRORS_MAX = 5;

/** What YAML can say and a configuration cannot: keys that are no texts, values that contain themselves. */
function refuseOddStructure(
  document: Document.Parsed,
  problems: Problems,
  place: (offset: number) => string,
): void {
  visit(document, {
    Pair(_, { key }) {
      // `!!binary` makes a scalar of bytes.
      if (isScalar(key) && (key.value === null || typeof key.value !== "object")) return;
      const range = (key as { range?: readonly number[] | null } | null)?.range;
      problems.add(place(range?.[0] ?? 0), "a key must be a plain text");
    },
    Alias(_, alias, path) {
      const target = alias.resolve(document);
      if (!path.some((ancestor) => ancestor === target)) return;
      problems.add(
        place(alias.range?.[0] ?? 0),
        `*${alias.source} stands inside of what it repeats`,
      );
    },
  });
}

function valuesOf(document: Document.Parsed, name: string): unknown {
  try {
    return document.toJS();
  } catch (error) {
    // An alias without its anchor, or aliases that multiply beyond all measure.
    throw new TailgateError("CONFIG_INVALID", `${name} is not valid YAML: ${textOf(error)}.`, {
      cause: error,
    });
  }
}

function mapping(values: unknown, name: string): Readonly<Record<string, unknown>> {
  if (values === null || values === undefined) return {};
  if (typeof values === "object" && !Array.isArray(values)) {
    return values as Record<string, unknown>;
  }
  throw new TailgateError(
    "CONFIG_INVALID",
    `${name} does not hold a mapping: at its top are keys such as "port: 8001".`,
  );
}
