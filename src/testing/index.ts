/** `tailgate/testing`: for the tests of plugins. */

import "../runtime/supported-node.ts";

// The suite that every exporter has to pass, built-in ones included.
export { exporterContract } from "./exporter-contract.ts";
export type { ContractCase, ExporterHarness } from "./exporter-contract.ts";

// Its parts, for tests of your own.
export { batchOf, recordOf } from "./batch.ts";
export { testHost } from "./host.ts";
export type { TestHost } from "./host.ts";
