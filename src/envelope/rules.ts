/**
 * The rules by which the envelopes of system logs are made. Blocks of the journal are stored with the rules instead of the
 * envelopes, and the envelopes are made again when they are read: a record never changes after it was seen, even if the
 * configuration or a newer Tailgate would make another envelope of it.
 *
 * Besides its own fields, its scope and its resource, the envelope of a system log depends on the attributes of the resource
 * that the configuration names. It does not depend on who sent it, on the loggers of audit events (which decide only that
 * it is a system log) or on the lowest level. The envelope of a record without a time has the time at which it came, so it
 * cannot be made again. Those of audit events are evidence, and are never made again.
 */

import { BatchBuilder } from "../batch/batch-builder.ts";
import { encodeStoredRecords } from "../otlp/request-encoder.ts";
import { ENVELOPE_VERSION, LoggerNames } from "./prefix.ts";

export interface EnvelopeRules {
  readonly version: number;
  /** The attributes of the resource that envelopes have, in their order. */
  readonly resourceAttributes: readonly string[];
}

/** Returns the rules of this version. */
export function envelopeRules(resourceAttributes: readonly string[] = []): EnvelopeRules {
  return { version: ENVELOPE_VERSION, resourceAttributes };
}

/** Returns the rules as JSON; equal rules have the same text. */
export function rulesText({ version, resourceAttributes }: EnvelopeRules): string {
  return JSON.stringify({ version, resourceAttributes });
}

/** How many rules are retained by their text: they change with the configuration. */
const PARSED_MAX = 100;
const parsed = new Map<string, EnvelopeRules>();

/**
 * Returns the rules of a text that {@link rulesText} has made.
 * @throws RangeError if they are those of a newer Tailgate.
 */
export function rulesOf(text: string): EnvelopeRules {
  let rules = parsed.get(text);
  if (rules === undefined) {
    rules = JSON.parse(text) as EnvelopeRules;
    if (!(rules.version >= 1 && rules.version <= ENVELOPE_VERSION)) {
      throw new RangeError(`envelopes have the rules of the unknown version ${rules.version}`);
    }
    if (parsed.size >= PARSED_MAX) parsed.clear();
    parsed.set(text, rules);
  }
  return rules;
}

/** Envelopes that were made again. */
export interface RenderedFrames {
  /** The envelopes one after the other, each after its frame header. */
  readonly bytes: Buffer<ArrayBuffer>;
  /** The sizes of the envelopes. */
  readonly sizes: Int32Array;
}

/** What is known about the loggers is retained with the rules. */
const loggersByRules = new WeakMap<EnvelopeRules, LoggerNames>();

/** Reused: pages are small, and its memory is large. */
let builder: BatchBuilder | undefined;

/**
 * Makes the envelopes of records again. `request` is an ExportLogsServiceRequest with the records as they were stored;
 * `indexes` says which ones, in the order in which they are returned. All are system logs that have a time.
 * @throws TailgateError OTLP_UNDECODABLE, RangeError if a record is not a system log.
 */
export function renderFrames(
  request: Uint8Array,
  indexes: ArrayLike<number>,
  rules: EnvelopeRules,
): RenderedFrames {
  builder ??= new BatchBuilder();
  const count = encodeStoredRecords(request, indexes, builder, loggersOf(rules));
  const batches = builder.take();
  if (count !== indexes.length) {
    throw new RangeError(`${indexes.length - count} of the stored records are not system logs`);
  }
  const sizes = new Int32Array(count);
  let next = 0;
  for (const batch of batches) {
    for (let index = 0; index < batch.length; index++) sizes[next++] = batch.size(index);
  }
  return { bytes: concatenated(batches.map((batch) => batch.frames())), sizes };
}

/** In memory of its own, which can be transferred to another thread. */
function concatenated(parts: readonly Uint8Array[]): Buffer<ArrayBuffer> {
  const bytes = Buffer.allocUnsafeSlow(parts.reduce((sum, part) => sum + part.length, 0));
  let position = 0;
  for (const part of parts) {
    bytes.set(part, position);
    position += part.length;
  }
  return bytes;
}

function loggersOf(rules: EnvelopeRules): LoggerNames {
  let loggers = loggersByRules.get(rules);
  if (loggers === undefined) {
    loggers = new LoggerNames([], rules.resourceAttributes);
    loggersByRules.set(rules, loggers);
  }
  return loggers;
}
