#!/usr/bin/env node
// What is imported here has to load with any Node: the rest would fail with errors that say nothing of its version.
import { createRequire } from "node:module";
import { nodeRefusal } from "./node-version.ts";

const require = createRequire(import.meta.url);
const { engines } = require("tailgate/package.json") as { engines: { node: string } };

const refusal = nodeRefusal(process.version, engines.node);
if (refusal === undefined) {
  await import("./program.ts");
} else {
  process.stderr.write(`tailgate: ${refusal.code}: ${refusal.message}\n`);
  process.exitCode = refusal.exitCode;
}
