/** Requests in which each value occurs once, so that nothing else of a block can answer for a value that was left out. */

import { createHash } from "node:crypto";
import fc from "fast-check";
import type { JsonRequest } from "../encode/generated-request.ts";

interface KeyValue {
  readonly key: string;
  readonly value: object;
}

/** Makes values that no other call returns. */
class Marks {
  readonly #seed: number;
  #count = 0;

  constructor(seed: number) {
    this.#seed = seed;
  }

  #digest(): Buffer {
    return createHash("sha256")
      .update(`${this.#seed} ${this.#count++}`)
      .digest();
  }

  /** Letters only. */
  word(): string {
    const letters = Array.from(this.#digest().subarray(0, 12), (byte) =>
      String.fromCharCode((byte & 0x20) + 0x41 + (byte % 26)),
    );
    return letters.join("");
  }

  id(): string {
    return `${this.#digest().toString("hex", 0, 8)}-7`;
  }

  text(): object {
    const kind = this.#digest()[0]! % 4;
    if (kind === 0) return { stringValue: this.id() };
    if (kind === 1) return { stringValue: `${this.word()} ${this.word()}, "${this.id()}"` };
    return { stringValue: kind === 2 ? this.word() : `straße/${this.word()}.É${this.word()}` };
  }

  int(): object {
    const digest = this.#digest();
    const large = digest.readBigUInt64LE() >> BigInt(1 + (digest[8]! % 30));
    return { intValue: String(digest[9]! % 3 === 0 ? -large : large) };
  }

  double(): object {
    return { doubleValue: this.#digest().readUInt32LE() + this.#digest().readUInt32LE() / 2 ** 32 };
  }

  bytes(): object {
    return { bytesValue: this.#digest().toString("base64", 0, 12) };
  }

  hex(bytes: number): string {
    return this.#digest().toString("hex", 0, bytes);
  }

  key(): string {
    return `k${this.#count}.${this.word()}`;
  }

  /** Values of all types, alone, in lists and nested. */
  values(): object[] {
    const scalars = (): object[] => [this.text(), this.int(), this.double(), this.bytes()];
    const map = (...values: object[]): object => ({
      kvlistValue: { values: values.map((value) => this.#member(value)) },
    });
    return [
      ...scalars(),
      { boolValue: true },
      {},
      { arrayValue: { values: scalars() } },
      map(...scalars(), map(...scalars())),
      {
        arrayValue: {
          values: [map(this.text(), this.int()), { arrayValue: { values: scalars() } }],
        },
      },
    ];
  }

  #member(value: object): KeyValue {
    return { key: this.key(), value };
  }

  attributes(): KeyValue[] {
    return this.values().map((value) => this.#member(value));
  }

  /** As an audit event has them. */
  details(): KeyValue {
    return { key: "details", value: { kvlistValue: { values: this.attributes() } } };
  }

  errorAttribute(): KeyValue {
    const members = ["type", "message", "stack", "code", "cause"].map((key) => ({
      key,
      value: { stringValue: this.word() },
    }));
    return { key: "err", value: { kvlistValue: { values: members } } };
  }
}

/** What makes records differ in how they are stored. */
const RECORDS: Readonly<Record<string, (marks: Marks) => object>> = {
  plain: (marks) => ({
    body: marks.text(),
    attributes: marks.attributes(),
    severityText: marks.word(),
    eventName: marks.word(),
    traceId: marks.hex(16),
    spanId: marks.hex(8),
  }),
  error: (marks) => ({ body: marks.text(), attributes: [marks.errorAttribute()] }),
  detailed: (marks) => ({ body: marks.text(), attributes: [marks.details()] }),
  structured: (marks) => ({ body: { kvlistValue: { values: marks.attributes() } } }),
  listed: (marks) => ({ body: { arrayValue: { values: marks.values() } } }),
  numeric: (marks) => ({ body: marks.int() }),
  callSite: (marks) => ({
    body: marks.double(),
    attributes: [
      { key: "code.file.path", value: { stringValue: `/app/${marks.word()}.py` } },
      { key: "code.function.name", value: { stringValue: `${marks.word()}.${marks.word()}` } },
      { key: "code.line.number", value: { intValue: "12345678" } },
    ],
  }),
  reserved: (marks) => ({
    body: marks.text(),
    attributes: ["level", "message", "id", "line", "trace_id", "service"].map((key) => ({
      key,
      value: marks.text(),
    })),
  }),
  named: (marks) => ({
    body: marks.text(),
    attributes: [{ key: "logger.name", value: { stringValue: marks.word() } }],
  }),
  // Ids of other lengths, which columns do not hold.
  oddIds: (marks) => ({
    body: marks.text(),
    traceId: marks.hex(7),
    attributes: [...marks.attributes(), marks.errorAttribute()],
  }),
  repeatedKeys: (marks) => ({
    body: marks.text(),
    attributes: [
      ...marks.attributes(),
      { key: "a", value: marks.text() },
      { key: "a", value: marks.int() },
    ],
  }),
};

const SEVERITIES = [9, 13, 17, 21, 5];
const SECOND = 1_760_347_644_000_000_000n;

/** Each record has a resource, a logger and a level of its own. */
export const markedRequest: fc.Arbitrary<JsonRequest> = fc
  .record({
    seed: fc.nat(),
    kinds: fc.shuffledSubarray(Object.keys(RECORDS), { minLength: 3, maxLength: 5 }),
    isAudit: fc.boolean(),
  })
  .map(({ seed, kinds, isAudit }) => {
    const marks = new Marks(seed);
    const resourceLogs = kinds.map((kind, index) => {
      const shown = ["a", "b"].map((key) => ({ key, value: marks.text() }));
      const service = { key: "service.name", value: { stringValue: marks.word() } };
      const name = isAudit ? "orchestrator.audit" : `orchestrator.${marks.word()}`;
      const record = {
        timeUnixNano: String(SECOND + BigInt(index) * 40_000_000_000n),
        observedTimeUnixNano: String(SECOND),
        severityNumber: isAudit ? 9 : SEVERITIES[index],
        ...RECORDS[kind]!(marks),
      };
      const scope = { name, attributes: [{ key: marks.key(), value: marks.text() }] };
      const resource = { attributes: [service, ...shown] };
      return { resource, scopeLogs: [{ scope, logRecords: [record] }] };
    });
    return { resourceLogs };
  });
