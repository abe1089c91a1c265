import { findSourceMap, type SourceOrigin } from "node:module";
import { fileURLToPath } from "node:url";

/** Where a logging call stands in the source, under the names of the semantic conventions ("Code attributes"). */
export interface CallSiteAttributes {
  "code.file.path": string;
  "code.function.name": string;
  "code.line.number": number;
}

/**
 * The caller of `callee`, with source maps where Node has them enabled (`--enable-source-maps`); undefined where the
 * stack does not tell. Costs some microseconds.
 */
export function callSiteAbove(
  callee: (...args: never[]) => unknown,
): CallSiteAttributes | undefined {
  const site = topSite(callee);
  const file = site?.getFileName();
  if (!site || !file) return undefined;
  const line = site.getLineNumber() ?? 0;
  const origin = process.sourceMapsEnabled
    ? originOf(file, line, site.getColumnNumber() ?? 0)
    : undefined;
  return {
    "code.file.path": pathOf(origin?.fileName ?? file),
    "code.function.name": site.getFunctionName() ?? "",
    "code.line.number": origin?.lineNumber ?? line,
  };
}

/** The place in the file that was compiled to this one. */
function originOf(file: string, line: number, column: number): SourceOrigin | undefined {
  const origin = findSourceMap(pathOf(file))?.findOrigin(line, column);
  return origin && "fileName" in origin ? origin : undefined;
}

function topSite(callee: (...args: never[]) => unknown): NodeJS.CallSite | undefined {
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

function pathOf(file: string): string {
  return file.startsWith("file://") ? fileURLToPath(file) : file;
}
