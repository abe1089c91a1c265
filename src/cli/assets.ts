/** Writes what `npm run build` adds to the compiled files. Run as `node dist/src/cli/assets.js`. */

import { chmod, readdir, readFile, writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import { configJsonSchema } from "../config/reference.ts";
import { unsupportedNodeError } from "../runtime/node-version.ts";

const dist = new URL("../../", import.meta.url);

await chmod(new URL("cli/main.js", dist), 0o755);
await writeFile(new URL("require.cjs", dist), requireSource());
const schema = JSON.stringify(await configJsonSchema(), null, 2);
await writeFile(new URL("tailgate.schema.json", dist), `${schema}\n`);

/** Compresses the dashboard's files, if that makes them smaller. */
const dashboard = new URL("dashboard/", dist);
const names = await readdir(dashboard, { recursive: true, withFileTypes: true });
for (const entry of names) {
  if (!entry.isFile() || /\.(?:br|gz)$/.test(entry.name)) continue;
  const path = `${entry.parentPath}/${entry.name}`;
  const bytes = await readFile(path);
  const brotli = { params: { [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } };
  const [br, gz] = await Promise.all([
    promisify(brotliCompress)(bytes, brotli),
    promisify(gzip)(bytes, { level: constants.Z_BEST_COMPRESSION }),
  ]);
  if (br.length < bytes.length) await writeFile(`${path}.br`, br);
  if (gz.length < bytes.length) await writeFile(`${path}.gz`, gz);
}

/** Returns the source of `require("tailgate")`. A Node that cannot require ES modules is too old, and the error says so. */
function requireSource(): string {
  const old = "v20.0.0";
  const { message, exitCode } = unsupportedNodeError(old)!;
  const text = `${JSON.stringify(message)}.replace("${old}", process.version)`;
  return `"use strict";
try {
  module.exports = require("./src/index.js");
} catch (cause) {
  if (cause.code !== "ERR_REQUIRE_ESM") throw cause;
  throw Object.assign(new Error(${text}, { cause }), {
    name: "TailgateError",
    code: "NODE_UNSUPPORTED",
    exitCode: ${exitCode},
    [Symbol.for("tailgate.error")]: true,
  });
}
`;
}
