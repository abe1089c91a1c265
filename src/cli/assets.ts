/** What `npm run build` adds to the compiled files. Run as `node dist/src/cli/assets.js`. */

import { chmod, writeFile } from "node:fs/promises";
import { configJsonSchema } from "../config/json-schema.ts";

const dist = new URL("../../", import.meta.url);

await chmod(new URL("cli/main.js", dist), 0o755);
const schema = JSON.stringify(await configJsonSchema(), null, 2);
await writeFile(new URL("tailgate.schema.json", dist), `${schema}\n`);
