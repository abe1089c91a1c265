import { Writable } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Logger } from "@opentelemetry/api";
import { ExportResultCode } from "@opentelemetry/core";
import { defaultResource } from "@opentelemetry/resources";
import {
  BatchLogRecordProcessor,
  LoggerProvider,
  type LogRecordExporter,
  type LogRecordProcessor,
} from "@opentelemetry/sdk-logs";
import { pino } from "pino";
import winston from "winston";
import type { RecordBatch } from "../../src/batch/record-batch.ts";
import { built } from "./built.ts";
import { naiveEnvelope } from "./naive-envelope.ts";
import {
  LOGGER_NAME,
  SEVERITY_NUMBER,
  SEVERITY_TEXT,
  typicalAttributes,
  typicalBody,
} from "./typical-record.ts";

/** The number of records emitted before the event loop gets its turn, in which Tailgate flushes. */
const TURN_RECORDS = 100;

const PENDING_BYTES_MAX = 64 << 20;

/** The WebSocket frame header that a batch reserves before each envelope. */
const FRAME_HEAD_BYTES = 4;

/** Logs the record with that index, and reports the outcome of all of them. */
export interface Emitter {
  emit(index: number): void;
  /** Bytes of the envelopes so far; undefined if none are built. */
  envelopeBytes?(): number;
  /** The number of lost records, after all others have been delivered. */
  dropped?(): Promise<number>;
}

/** All ways to log, by the name of their figure. */
export const EMITTERS = {
  "emit.sdk_noop": sdkNoop,
  "emit.sdk_batch": sdkBatch,
  "emit.sdk_stringify": sdkStringify,
  "emit.tailgate": tailgateProcessor,
  "emit.tailgate_provider": tailgateProvider,
  "emit.tailgate_direct": tailgateDirect,
  "emit.tailgate_journal": tailgateJournal,
  "emit.pino": pinoNull,
  "emit.winston": winstonNull,
} satisfies Record<string, () => Emitter | Promise<Emitter>>;

export type EmitterName = keyof typeof EMITTERS;

/** Logs this many records; Tailgate flushes in between. */
export async function emitInTurns(emit: Emitter["emit"], records: number): Promise<void> {
  for (let index = 0; index < records;) {
    for (const end = index + TURN_RECORDS; index < end; index++) emit(index);
    await nextTurn();
  }
}

function sdkNoop() {
  const processor: LogRecordProcessor = {
    onEmit: () => {},
    forceFlush: () => Promise.resolve(),
    shutdown: () => Promise.resolve(),
  };
  return { ...sdkLogger(processor) };
}

/** More than a slice holds: dropped records cost less. */
const BATCH_QUEUE_RECORDS = 1 << 16;

/** What most applications have before their exporter; this exporter accepts everything at once. */
function sdkBatch() {
  let emitted = 0;
  let exported = 0;
  const exporter: LogRecordExporter = {
    export(records, done) {
      exported += records.length;
      done({ code: ExportResultCode.SUCCESS });
    },
    forceFlush: () => Promise.resolve(),
    shutdown: () => Promise.resolve(),
  };
  const processor = new BatchLogRecordProcessor({ exporter, maxQueueSize: BATCH_QUEUE_RECORDS });
  const { emit } = sdkLogger(processor);
  return {
    emit(index: number) {
      emitted++;
      emit(index);
    },
    async dropped() {
      await processor.forceFlush();
      return emitted - exported;
    },
  };
}

function sdkStringify() {
  let bytes = 0;
  const processor: LogRecordProcessor = {
    onEmit({ hrTime, severityText, instrumentationScope, body, attributes }) {
      const [seconds, nanos] = hrTime;
      const envelope = naiveEnvelope({
        seconds,
        nanos,
        level: severityText ?? "INFO",
        logger: instrumentationScope.name,
        message: body as string,
        attributes,
      });
      bytes += envelope.length;
    },
    forceFlush: () => Promise.resolve(),
    shutdown: () => Promise.resolve(),
  };
  return {
    ...sdkLogger(processor),
    envelopeBytes: () => bytes,
  };
}

/** The processor alone on the SDK's own provider; its flushes are discarded at once. */
async function tailgateProcessor() {
  const { processor, envelopeBytes } = await tailgate(() => Promise.resolve());
  return { ...sdkLogger(processor), envelopeBytes };
}

/** The provider that `LoggingManager` registers. */
async function tailgateProvider() {
  const { TailgateLoggerProvider } =
    await built<typeof import("../../src/otel/provider.ts")>("src/otel/provider.js");
  const { processor, envelopeBytes } = await tailgate(() => Promise.resolve());
  const provider = new TailgateLoggerProvider(processor, defaultResource());
  return {
    emit: emitOf(provider.getLogger(LOGGER_NAME)),
    envelopeBytes,
  };
}

/** The one that `LoggingManager` registers on request. */
async function tailgateDirect() {
  const { DirectLoggerProvider } =
    await built<typeof import("../../src/otel/provider.ts")>("src/otel/provider.js");
  const { processor, envelopeBytes } = await tailgate(() => Promise.resolve());
  const provider = new DirectLoggerProvider(processor, defaultResource());
  return {
    emit: emitOf(provider.getLogger(LOGGER_NAME)),
    envelopeBytes,
  };
}

/** As in a gateway: records remain in the journal's memory for a while. */
async function tailgateJournal() {
  const { MemoryJournal } =
    await built<typeof import("../../src/journal/memory.ts")>("src/journal/memory.js");
  const journal = new MemoryJournal();
  const { processor, envelopeBytes } = await tailgate((batch) => journal.append(batch));
  return { ...sdkLogger(processor), envelopeBytes };
}

export async function tailgate(append: (batch: RecordBatch) => Promise<void>) {
  const { RecordIntake } =
    await built<typeof import("../../src/intake/intake.ts")>("src/intake/intake.js");
  const { TailgateLogRecordProcessor } =
    await built<typeof import("../../src/otel/processor.ts")>("src/otel/processor.js");
  let bytes = 0;
  const intake = new RecordIntake({
    logLevel: "INFO",
    processors: [],
    pendingBytesMax: PENDING_BYTES_MAX,
    unstoredBytes: () => 0,
    storedEvents: [],
    log: { info: fail, warning: fail, error: fail },
    append(batch) {
      bytes += batch.byteLength - FRAME_HEAD_BYTES * batch.length;
      return append(batch);
    },
  });
  const processor = new TailgateLogRecordProcessor(intake, () => intake.flush());
  return { processor, envelopeBytes: () => bytes };
}

/** Never loses records. */
function fail(text: string): never {
  throw new Error(text);
}

export function sdkLogger(processor: LogRecordProcessor) {
  const provider = new LoggerProvider({ processors: [processor] });
  const logger = provider.getLogger(LOGGER_NAME);
  return { emit: emitOf(logger), emitText: (text: string) => emitText(logger, text) };
}

export function emitOf(logger: Logger): (index: number) => void {
  return (index) => emitText(logger, typicalBody(index));
}

function emitText(logger: Logger, body: string): void {
  logger.emit({
    severityNumber: SEVERITY_NUMBER,
    severityText: SEVERITY_TEXT,
    body,
    attributes: typicalAttributes(),
  });
}

function pinoNull() {
  const logger = pino({ name: LOGGER_NAME }, { write: () => {} });
  return {
    emit: (index: number) => logger.info(typicalAttributes(), typicalBody(index)),
  };
}

function winstonNull() {
  const nowhere = new Writable({ write: (_, __, done) => done() });
  const logger = winston.createLogger({
    format: winston.format.combine(winston.format.timestamp(), winston.format.json()),
    defaultMeta: { name: LOGGER_NAME },
    transports: [new winston.transports.Stream({ stream: nowhere })],
  });
  return {
    emit: (index: number) => logger.info(typicalBody(index), typicalAttributes()),
  };
}
