import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { isScalar, LineCounter, parseDocument, visit, type Document } from "yaml";
import { TailgateError, textOf } from "../errors.ts";
import { Problems } from "./problems.ts";

/** What is read where no file is named, if it is there. */
const DEFAULT_FILE = "tailgate.yaml";

/** The parsed configuration, before substitution and validation. */
export interface ConfigFile {
  /** Absolute path; undefined where there is no file. */
  readonly path: string | undefined;
  /** Where plugins are looked for, and what paths after `use` are relative to. */
  readonly directory: string;
  readonly values: Readonly<Record<string, unknown>>;
}

export interface ConfigFileSource {
  /** Path of the file; where it is absent, `tailgate.yaml` in `cwd` may count. */
  readonly file?: string | undefined;
  /** The file's text, where the caller has it already. */
  readonly text?: string | undefined;
  readonly cwd: string;
}

/**
 * Reads and parses the configuration file.
 * @throws TailgateError CONFIG_UNREADABLE, or CONFIG_INVALID with line and column.
 */
export async function readConfigFile(
  { file, text, cwd }: ConfigFileSource,
  { takesDefaultFile }: { readonly takesDefaultFile: boolean },
): Promise<ConfigFile> {
  if (file === undefined && text !== undefined) {
    return { path: undefined, directory: cwd, values: parse(text, "configuration") };
  }
  const path = resolve(cwd, file ?? DEFAULT_FILE);
  const isWanted = file !== undefined || takesDefaultFile;
  const content = text ?? (isWanted ? await readText(path, file !== undefined) : undefined);
  if (content === undefined) return { path: undefined, directory: cwd, values: {} };
  return { path, directory: dirname(path), values: parse(content, path) };
}

async function readText(path: string, isNamed: boolean): Promise<string | undefined> {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await readFile(path));
  } catch (error) {
    if (!isNamed && (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new TailgateError(
      "CONFIG_UNREADABLE",
      `The configuration file ${path} cannot be read: ${textOf(error)}.`,
      { cause: error },
    );
  }
}

function parse(text: string, name: string): Readonly<Record<string, unknown>> {
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
