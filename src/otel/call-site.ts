import { findSourceMap, type SourceOrigin } from "node:module";
import { fileURLToPath } from "node:url";

/** The source location of a logging call, under the names of the semantic conventions ("Code attributes"). */
export interface CallSiteAttributes {
  "code.file.path": string;
  "code.function.name": string;
  "code.line.number": number;
}

/**
 * Returns the call site of `callee`, mapped to the original source if Node runs with `--enable-source-maps`; undefined if the
 * stack does not tell. Takes some microseconds.
 */
export function captureCallSite(
  callee: (...args: never[]) => unknown,
): CallSiteAttributes | undefined {
  const site = callerFrame(callee);
  const file = site?.getFileName();
  if (!site || !file) return undefined;
  const line = site.getLineNumber() ?? 0;
  const origin = process.sourceMapsEnabled
    ? mapToSource(file, line, site.getColumnNumber() ?? 0)
    : undefined;
  return {
    "code.file.path": toPath(origin?.fileName ?? file),
    "code.function.name": site.getFunctionName() ?? "",
    "code.line.number": origin?.lineNumber ?? line,
  };
}

/** Returns the location in the file that was compiled to this one. */
function mapToSource(file: string, line: number, column: number): SourceOrigin | undefined {
  const origin = findSourceMap(toPath(file))?.findOrigin(line, column);
  return origin && "fileName" in origin ? origin : undefined;
}

function callerFrame(callee: (...args: never[]) => unknown): NodeJS.CallSite | undefined {
  const { prepareStackTrace, stackTraceLimit } = Error;
  const holder: { stack?: NodeJS.CallSite[] } = {};
  try {
    Error.stackTraceLimit = 1;
    Error.prepareStackTrace = (_, sites) => sites;
    Error.captureStackTrace(holder, callee);
    return holder.stack?.[0];
  } finally {
    Error.prepareStackTrace = prepareStackTrace;
    Error.stackTraceLimit = stackTraceLimit;
  }
}

function toPath(file: string): string {
  return file.startsWith("file://") ? fileURLToPath(file) : file;
}
