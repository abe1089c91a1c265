/** Derives the envelope's module, function and line from `code.*` attributes, by their old and new names. */

/** The prefix of the attributes that tell the call site. They are not extras. */
export const CODE_PREFIX = "code.";

/** Content, not a call site: an extra like any other. */
export const STACKTRACE = "code.stacktrace";

/** Whether an attribute tells the call site. */
export function tellsCallSite(name: string): boolean {
  return name.startsWith(CODE_PREFIX) && name !== STACKTRACE;
}

export interface CallSite {
  module: string;
  function: string;
  line: number;
}

/** Reads the call site from attributes that start with {@link CODE_PREFIX}; stable names win over old ones. */
export function callSiteOf(attribute: (name: string) => unknown): CallSite {
  const text = (names: readonly string[]): string => {
    for (const name of names) {
      const value = attribute(name);
      if (typeof value === "string" && value !== "") return value;
    }
    return "";
  };
  const file = text(FILE_ATTRIBUTES);
  const [line, oldLine] = LINE_ATTRIBUTES;
  return {
    module: file ? moduleOfPath(file) : lastComponent(text([NAMESPACE_ATTRIBUTE])),
    function: lastComponent(text(FUNCTION_ATTRIBUTES)),
    line: lineOf(attribute(line) ?? attribute(oldLine)),
  };
}

/** The attributes that tell the file, the function and the line, the one that counts first. */
export const FILE_ATTRIBUTES = ["code.file.path", "code.filepath"] as const;
export const FUNCTION_ATTRIBUTES = ["code.function.name", "code.function"] as const;
export const LINE_ATTRIBUTES = ["code.line.number", "code.lineno"] as const;
/** It tells the module if no attribute tells the file. */
export const NAMESPACE_ATTRIBUTE = "code.namespace";

/** `/app/src/server.py` gives `server`. */
export function moduleOfPath(path: string): string {
  const base = path.slice(Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1);
  const dot = base.lastIndexOf(".");
  return dot > 0 ? base.slice(0, dot) : base;
}

/** `main.run` and `crate::worker::run` give `run`. */
export function lastComponent(name: string): string {
  const dot = name.lastIndexOf(".");
  const colons = name.lastIndexOf("::");
  return name.slice(Math.max(dot + 1, colons < 0 ? 0 : colons + 2));
}

export function lineOf(value: unknown): number {
  const line = typeof value === "string" && /^\d+$/.test(value) ? Number(value) : value;
  return typeof line === "number" && Number.isSafeInteger(line) && line > 0 ? line : 0;
}
