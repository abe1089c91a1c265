import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { batchOf, testHost, type TestHost } from "tailgate/testing";
import { onTestFinished } from "vitest";
import file from "../../plugins/file.ts";
import type { Batch, Exporter } from "tailgate/plugin";

export const NEVER = new AbortController().signal;

interface Opened {
  readonly exporter: Exporter;
  readonly host: TestHost;
  /** Where the file is. */
  readonly path: string;
}

/** The exporter on a log directory of its own, or on that of a host. */
export async function openFile(
  options: Readonly<Record<string, unknown>> = {},
  given?: TestHost,
): Promise<Opened> {
  const host = given ?? (await hostWithDirectory());
  const parsed = file.options.parse(options);
  const exporter = await file.open(parsed, host);
  onTestFinished(() => exporter.close?.(NEVER));
  return { exporter, host, path: join(host.logDir, parsed.path) };
}

export async function hostWithDirectory(): Promise<TestHost> {
  const host = await testHost("file");
  onTestFinished(() => host.close());
  return host;
}

/** Batches with growing sequences. */
export function batches(...given: string[][]): Batch[] {
  let firstSequence = 1;
  return given.map((bodies) => {
    const batch = batchOf(
      bodies.map((body) => ({ body })),
      { firstSequence },
    );
    firstSequence += bodies.length;
    return batch;
  });
}

/** What the file should get for the batch. */
export function linesOf(batch: Batch): string[] {
  return Array.from({ length: batch.length }, (_, index) => `${textOf(batch.data(index))}\n`);
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}

export function read(path: string): string {
  return readFileSync(path, "utf8");
}

export function messages(path: string): string[] {
  const lines = read(path).split("\n").slice(0, -1);
  return lines.map((line) => (JSON.parse(line) as { message: string }).message);
}

/** All that was kept, the oldest first. */
export function kept(path: string, backups: number): string[] {
  const places = Array.from({ length: backups }, (_, index) => `${path}.${backups - index}`);
  return [...places, path].filter((place) => existsSync(place)).map(read);
}
