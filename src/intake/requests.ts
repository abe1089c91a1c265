/**
 * OTLP requests as the intake handles them: how each form is decoded, how large ones are scheduled, what their senders may
 * send, and how they are answered.
 */

import type { BatchBuilder } from "../batch/batch-builder.ts";
import type { Counters } from "../plugin/metrics.ts";
import type { LoggerNames } from "../envelope/prefix.ts";
import { ANYONE, createSender, type Sender } from "../envelope/sender.ts";
import { RequestFindings, type RequestCounts } from "../otlp/findings.ts";
import {
  encodeOtlpJson,
  encodeOtlpJsonInSteps,
  encodeOtlpProtobufInSteps,
  encodeOtlpProtobufWithin,
  otlpJsonToProtobuf,
} from "../otlp/request-encoder.ts";
import type { Steps } from "../otlp/request-limits.ts";
import type { Access, Ingested, Intake } from "../plugin/index.ts";
import { nextTurn } from "../runtime/timers.ts";
import type { LevelRank } from "../wire/envelope.ts";
import { TailgateError } from "../wire/errors.ts";

/** The limits of a request that is encoded in one turn of the event loop. */
const PROTOBUF_BYTES_MAX = 1 << 20;
const PROTOBUF_STEPS_MAX = 64;
const JSON_BYTES_MAX = 256 << 10;

/** The time, in ms, that a large request may take up in one turn of the event loop. */
export const TURN_MS = 8;

type Encode<Result> = (
  body: Uint8Array,
  open: BatchBuilder,
  lowest: LevelRank,
  loggers: LoggerNames,
  findings: RequestFindings,
  sender: Sender,
) => Result;

/** How requests of one form, protobuf or JSON, are read. */
export interface RequestForm {
  /** Encodes a request into the open batch. Returns undefined, with nothing done, if it is too large for one turn. */
  readonly encode: Encode<RequestCounts | undefined>;
  readonly encodeInSteps: Encode<Steps<RequestCounts>>;
  /** Returns the request in protobuf; absent if it is. */
  toProtobuf?(body: Uint8Array, findings: RequestFindings): Steps<Uint8Array>;
}

export const PROTOBUF_FORM: RequestForm = {
  encode: (body, open, lowest, loggers, findings, sender) =>
    body.length <= PROTOBUF_BYTES_MAX
      ? encodeOtlpProtobufWithin(body, open, lowest, loggers, findings, sender, PROTOBUF_STEPS_MAX)
      : undefined,
  encodeInSteps: encodeOtlpProtobufInSteps,
};

/** Requests that the processors leave: what there is to find in them has been found before. */
export const PROCESSED_FORM: RequestForm = {
  encode: (body, open, lowest, loggers, _findings, sender) =>
    PROTOBUF_FORM.encode(body, open, lowest, loggers, new RequestFindings(), sender),
  encodeInSteps: (body, open, lowest, loggers, _findings, sender) =>
    encodeOtlpProtobufInSteps(body, open, lowest, loggers, undefined, sender),
};

export const JSON_FORM: RequestForm = {
  encode: (body, open, lowest, loggers, findings, sender) =>
    body.length <= JSON_BYTES_MAX
      ? encodeOtlpJson(body, open, lowest, loggers, findings, sender)
      : undefined,
  encodeInSteps: encodeOtlpJsonInSteps,
  toProtobuf: (body, findings) => otlpJsonToProtobuf(body, findings, JSON_BYTES_MAX),
};

/**
 * Runs requests that are too large for one turn of the event loop: one after the other, each in many turns. They do not block
 * other work, and only one at a time needs more memory than its body.
 */
export class LargeRequests {
  /** The size of the requests that are running or waiting, in bytes. */
  bytes = 0;
  #last: Promise<unknown> = Promise.resolve();
  readonly #checkRunning: () => void;

  /** `checkRunning` throws once requests are not to be continued. */
  constructor(checkRunning: () => void) {
    this.#checkRunning = checkRunning;
  }

  async add<Result>(bytes: number, work: () => Promise<Result>): Promise<Result> {
    this.bytes += bytes;
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    try {
      return await result;
    } finally {
      this.bytes -= bytes;
    }
  }

  /** Resolves when the requests that were added so far are through. */
  async done(): Promise<void> {
    await this.#last;
  }

  /** Runs the steps to their end, and lets others have a turn every {@link TURN_MS}. */
  async inTurns<Result>(steps: Steps<Result>): Promise<Result> {
    let turnEndsAtMs = performance.now() + TURN_MS;
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
      if (performance.now() < turnEndsAtMs) continue;
      await nextTurn();
      this.#checkRunning();
      turnEndsAtMs = performance.now() + TURN_MS;
    }
  }
}

/** Returns the intake for one receiver, which counts what passes through it as the receiver's own. */
export function countedIntake(intake: Intake, counters: Counters): Intake {
  const counted = async (ingesting: Promise<Ingested>): Promise<Ingested> => {
    try {
      const answer = await ingesting;
      counters.received += answer.accepted + answer.rejected;
      counters.sent += answer.accepted;
      counters.drop("rejected", answer.rejected);
      return answer;
    } catch (error) {
      counters.failed++;
      throw error;
    }
  };
  return {
    otlpProtobuf: (body, access) => counted(intake.otlpProtobuf(body, access)),
    otlpJson: (body, access) => counted(intake.otlpJson(body, access)),
    records: (records, access) => counted(intake.records(records, access)),
  };
}

const senders = new WeakMap<Access, Sender>();

/** Returns the sender of a request. Without a principal it is {@link ANYONE}. */
export function senderOf(access: Access | undefined): Sender {
  if (access?.principal === undefined) return ANYONE;
  let sender = senders.get(access);
  if (sender === undefined) {
    const { principal, scopes } = access;
    sender = createSender(principal, scopes.has("ingest:system"), scopes.has("ingest:audit"));
    senders.set(access, sender);
  }
  return sender;
}

/** The reason under which records that their sender may not send are counted as dropped. */
export const FORBIDDEN = "forbidden";

/** Returns the error for a request whose sender may send none of its records. */
export function forbiddenRequest({ lack }: Sender, records: number): TailgateError {
  const needed = records === 1 ? "the record needs" : `all ${records} records need`;
  return new TailgateError("FORBIDDEN", `${lack}, which ${needed}.`);
}

/** Adds the records that their sender may not send to the answer to a request with other records. */
export function withForbidden(answer: Ingested, { lack }: Sender, forbidden: number): Ingested {
  if (forbidden === 0) return answer;
  return {
    accepted: answer.accepted,
    rejected: answer.rejected + forbidden,
    reason: answer.reason === "" ? lack : `${lack}; ${answer.reason}`,
  };
}

/** Returns the answer to a request with so many records; `reasons` says why records were rejected. */
export function ingested(records: number, reasons: readonly string[] = []): Ingested {
  const rejected = reasons.length;
  return { accepted: records - rejected, rejected, reason: reasons[0] ?? "" };
}

/** Adds what was found while the request was decoded to its answer. */
export function withFindings(answer: Ingested, findings: RequestFindings): Ingested {
  const { rejected, text, isUnrecognized } = findings;
  if (text === "") return answer;
  return {
    accepted: answer.accepted,
    rejected: answer.rejected + rejected,
    reason: answer.reason === "" ? text : `${answer.reason}; ${text}`,
    ...(isUnrecognized && { unrecognized: true }),
  };
}

/** Copies a body that is a view into larger memory: the journal retains it, and would retain all of that memory. */
export function ownMemory(body: Uint8Array): Uint8Array {
  return 2 * body.length < body.buffer.byteLength ? new Uint8Array(body) : body;
}
