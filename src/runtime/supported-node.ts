/** Throws on an unsupported Node. Imported first, because later imports would fail with obscure errors. */

import { unsupportedNodeError } from "./node-version.ts";

const error = unsupportedNodeError(process.version);
if (error !== undefined) throw error;
