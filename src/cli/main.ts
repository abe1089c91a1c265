#!/usr/bin/env node
// Imports here must load in any version of Node: the rest would fail in old ones with misleading errors.
import { unsupportedNodeError } from "../runtime/node-version.ts";

const refusal = unsupportedNodeError(process.version);
if (refusal === undefined) {
  await import("./program.ts");
} else {
  process.stderr.write(`tailgate: ${refusal.code}: ${refusal.message}\n`);
  process.exitCode = refusal.exitCode;
}
