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
  const text = (name: string): string => {
    const value = attribute(name);
    return typeof value === "string" ? value : "";
  };
  const file = text("code.file.path") || text("code.filepath");
  const namespace = text("code.namespace");
  return {
    module: file ? moduleOfPath(file) : lastComponent(namespace),
    function: lastComponent(text("code.function.name") || text("code.function")),
    line: lineOf(attribute("code.line.number") ?? attribute("code.lineno")),
  };
}

/** `/app/src/server.py` gives `server`. */
function moduleOfPath(path: string): string {
  const base = path.slice(Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1);
  const dot = base.lastIndexOf(".");
  return dot > 0 ? base.slice(0, dot) : base;
}

/** `main.run` and `crate::worker::run` give `run`. */
function lastComponent(name: string): string {
  const dot = name.lastIndexOf(".");
  const colons = name.lastIndexOf("::");
  return name.slice(Math.max(dot + 1, colons < 0 ? 0 : colons + 2));
}

function lineOf(value: unknown): number {
  const line = typeof value === "string" && /^\d+$/.test(value) ? Number(value) : value;
  return typeof line === "number" && Number.isSafeInteger(line) && line > 0 ? line : 0;
}
