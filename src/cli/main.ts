#!/usr/bin/env node
// What is imported here has to load with any Node: the rest would fail with errors that say nothing of its version.
import { unsupportedNodeError } from "../runtime/node-version.ts";

const refusal = unsupportedNodeError(process.version);
if (refusal === undefined) {
  await import("./program.ts");
} else {
  process.stderr.write(`tailgate: ${refusal.code}: ${refusal.message}\n`);
  process.exitCode = refusal.exitCode;
}
