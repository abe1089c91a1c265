#!/usr/bin/env node
// Imports here must load in any version of Node: the rest would fail in old ones with misleading errors.
import { unsupportedNodeError } from "../runtime/node-version.ts";

const error = unsupportedNodeError(process.version);
if (error === undefined) {
  await import("./program.ts");
} else {
  process.stderr.write(`tailgate: ${error.code}: ${error.message}\n`);
  process.exitCode = error.exitCode;
}
