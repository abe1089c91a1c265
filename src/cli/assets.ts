/** What `npm run build` adds to the compiled files. Run as `node dist/src/cli/assets.js`. */

import { chmod, cp, writeFile } from "node:fs/promises";
import { configJsonSchema } from "../config/json-schema.ts";

const dist = new URL("../../", import.meta.url);
const sources = new URL("../src/", dist);

await cp(new URL("dashboard/", sources), new URL("src/dashboard/", dist), { recursive: true });
await chmod(new URL("src/cli/main.js", dist), 0o755);
const schema = JSON.stringify(await configJsonSchema(), null, 2);
await writeFile(new URL("tailgate.schema.json", dist), `${schema}\n`);
