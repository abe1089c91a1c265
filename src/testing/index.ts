/** `tailgate/testing`: for the tests of plugins, with any test runner. */

import "../runtime/supported-node.ts";

// The contract of exporters.
export { exporterContract } from "./exporter-contract.ts";
export type { ContractCase, ExporterHarness } from "./exporter-contract.ts";

// Hosts, batches and records.
export { testHost } from "./host.ts";
export type { TestHost, TestHostOptions, TestJournal } from "./host.ts";
export type { TestIntake } from "./intake.ts";
export { batchOf, recordOf } from "./batch.ts";
export type { BatchOptions } from "./batch.ts";
export type { PluginMetric, PluginSample } from "../plugin/metrics.ts";
