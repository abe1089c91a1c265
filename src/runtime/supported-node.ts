/** Imported before anything else: on an unsupported Node, what comes after it fails with errors that do not say why. */

import { nodeRefusal } from "./node-version.ts";

const refusal = nodeRefusal(process.version);
if (refusal !== undefined) throw refusal;
