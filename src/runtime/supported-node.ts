/** Imported before anything else: on an unsupported Node, what comes after it fails with errors that do not say why. */

import { unsupportedNodeError } from "./node-version.ts";

const refusal = unsupportedNodeError(process.version);
if (refusal !== undefined) throw refusal;
