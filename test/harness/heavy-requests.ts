/** Requests that take much longer than their size lets expect, unless what is in them is bounded. */

import { gzipSync } from "node:zlib";

export interface HeavyRequest {
  readonly type: "application/json" | "application/x-protobuf";
  readonly body: () => Buffer;
  /** The statuses that it may be answered with. */
  readonly statuses: readonly number[];
}

const MIB = 1 << 20;
/** What a receiver takes after unpacking. */
const INFLATED_BYTES = 20 * MIB - 4096;

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

/** A field of protobuf that has a length. */
function field(number: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  return Buffer.concat([varint(number * 8 + 2), varint(content.length), content]);
}

function many(count: number, part: (index: number) => Uint8Array): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, index) => part(index)));
}

function repeated(part: Buffer, bytes: number): Buffer {
  return Buffer.alloc(Math.floor(bytes / part.length) * part.length, part);
}

const text = (value: string): Buffer => field(1, Buffer.from(value));

const NUMBER = "0000000";

/** Copies of a part, up to so many bytes, with its number in each instead of {@link NUMBER}. */
function distinct(bytes: number, part: Buffer): Buffer {
  const copies = repeated(part, bytes);
  const place = part.indexOf(NUMBER);
  for (let index = 0; index < copies.length / part.length; index++) {
    let rest = index;
    for (let digit = NUMBER.length - 1; rest > 0; digit--, rest = Math.floor(rest / 10)) {
      copies[index * part.length + place + digit] = 0x30 + (rest % 10);
    }
  }
  return copies;
}

/** A request with these records, each as the fields of a LogRecord. */
function request(records: Uint8Array, scope = "orchestrator.server"): Buffer {
  return field(1, field(2, field(1, text(scope)), records));
}

function record(...fields: readonly Uint8Array[]): Buffer {
  return field(2, Buffer.from([16, 9]), ...fields);
}

const keyed = (key: string, value: Uint8Array): Buffer =>
  Buffer.concat([text(key), field(2, value)]);

function jsonRequest(records: string, scope = "orchestrator.server"): Buffer {
  return Buffer.from(
    `{"resourceLogs":[{"scopeLogs":[{"scope":{"name":"${scope}"},"logRecords":[${records}]}]}]}`,
  );
}

/** Copies of a text, with commas between them. */
function list(part: string, bytes: number): string {
  const count = Math.floor(bytes / (part.length + 1));
  return `${part},`.repeat(count - 1) + part;
}

function numbered(bytes: number, part: (index: number) => string): string {
  const parts: string[] = [];
  for (let size = 0, index = 0; ; index++) {
    const next = part(index);
    size += next.length + 1;
    if (size > bytes) return parts.join(",");
    parts.push(next);
  }
}

const JSON_TYPE = "application/json";
const PROTOBUF = "application/x-protobuf";

const json = (statuses: readonly number[], body: () => Buffer): HeavyRequest => ({
  type: JSON_TYPE,
  body,
  statuses,
});
const protobuf = (statuses: readonly number[], body: () => Buffer): HeavyRequest => ({
  type: PROTOBUF,
  body,
  statuses,
});

/** Ordinary records, some kilobytes of which are unlike the one before. */
function ordinary(index: number): string {
  return `{"timeUnixNano":"${1760347644339163000n + BigInt(index)}","severityNumber":9,"severityText":"INFO","body":{"stringValue":"Instance inst-${index} finished step 12 of 40 with exit status 0 after a while"},"attributes":[{"key":"instance_id","value":{"stringValue":"inst-${index}"}},{"key":"role","value":{"stringValue":"engineer"}},{"key":"attempt","value":{"intValue":"${index % 9}"}},{"key":"usage","value":{"kvlistValue":{"values":[{"key":"input_tokens","value":{"intValue":"1843"}},{"key":"output_tokens","value":{"doubleValue":5.5}}]}}}]}`;
}

function values(kind: string, bytes: number, part: (index: number) => string): string {
  return `{"body":{"${kind}":{"values":[${numbered(bytes, part)}]}}}`;
}

/** By name; sent gzipped. */
export const HEAVY: Readonly<Record<string, HeavyRequest>> = {
  "20 MiB of brackets": json([400], () => Buffer.alloc(INFLATED_BYTES, "[")),
  "20 MiB of brackets in a record": json([400], () =>
    jsonRequest(`{"body":{"arrayValue":{"values":${"[".repeat(INFLATED_BYTES - 200)}`),
  ),
  "lists within lists, in JSON": json([200, 400], () => {
    const depth = 300_000;
    return jsonRequest(
      `{"body":${'{"arrayValue":{"values":['.repeat(depth / 3)}{"stringValue":"x"}${"]}}".repeat(depth / 3)}}`,
    );
  }),
  "lists within lists": protobuf([200, 400], () => {
    let value = text("x");
    for (let depth = 0; depth < 3000; depth++) value = field(5, field(1, value));
    return request(record(field(5, value)));
  }),
  "a million attributes in a record": protobuf([400], () =>
    request(record(distinct(INFLATED_BYTES - 100, field(6, keyed(`a${NUMBER}`, text("x")))))),
  ),
  "60 000 attributes in a record": protobuf([200], () =>
    request(record(many(60_000, (index) => field(6, keyed(`attribute ${index}`, text("value")))))),
  ),
  "60 000 attributes in an audit event": protobuf([200], () =>
    request(
      record(many(60_000, (index) => field(6, keyed(`attribute ${index}`, text("value"))))),
      "orchestrator.audit",
    ),
  ),
  "4 MiB of attributes in each record": protobuf([400], () =>
    request(
      Buffer.concat(
        Array.from({ length: 5 }, () =>
          record(distinct(4 * MIB - 100, field(6, keyed(`extra_${NUMBER}`, text("x"))))),
        ),
      ),
    ),
  ),
  "65 000 attributes in each record": protobuf([200], () =>
    request(
      Buffer.concat(
        Array.from({ length: 12 }, () =>
          record(many(65_000, (index) => field(6, keyed(`extra_${index}`, text("x"))))),
        ),
      ),
    ),
  ),
  "65 000 attributes in each record, in JSON": json([200], () =>
    jsonRequest(
      Array.from(
        { length: 5 },
        () =>
          `{"attributes":[${numbered(3 * MIB, (index) => `{"key":"extra_${index}","value":{"intValue":${index}}}`)}]}`,
      ).join(","),
    ),
  ),
  "500 000 entries of a map": protobuf([400], () =>
    request(
      record(
        field(5, field(6, distinct(INFLATED_BYTES - 100, field(1, keyed(`k${NUMBER}`, text("")))))),
      ),
    ),
  ),
  "500 000 entries of a map, in JSON": json([400], () =>
    jsonRequest(values("kvlistValue", INFLATED_BYTES - 300, (index) => `{"key":"k${index}"}`)),
  ),
  "empty values": protobuf([400], () =>
    request(record(field(5, field(5, repeated(Buffer.from([10, 0]), 4 * MIB - 100))))),
  ),
  "values that are there twice": protobuf([400], () =>
    request(record(field(5, repeated(Buffer.from([10, 0]), 4 * MIB - 100)))),
  ),
  "20 MiB of control characters": protobuf([400], () =>
    request(record(field(5, field(1, Buffer.alloc(INFLATED_BYTES - 100, 1))))),
  ),
  "4 MiB of control characters in each record": protobuf([400], () =>
    request(
      Buffer.concat(
        Array.from({ length: 5 }, () => record(field(5, field(1, Buffer.alloc(4 * MIB - 100, 1))))),
      ),
    ),
  ),
  "1 MiB of control characters in each record": protobuf([200], () =>
    request(
      Buffer.concat(
        Array.from({ length: 19 }, () => record(field(5, field(1, Buffer.alloc(MIB, 1))))),
      ),
    ),
  ),
  "1 MiB of control characters in each audit event": protobuf([200], () =>
    request(
      Buffer.concat(
        Array.from({ length: 6 }, () => record(field(5, field(1, Buffer.alloc(MIB, 1))))),
      ),
      "orchestrator.audit",
    ),
  ),
  "control characters in a list as the body": protobuf([400], () =>
    request(record(field(5, field(5, field(1, field(1, Buffer.alloc(4 * MIB - 100, 1))))))),
  ),
  escapes: json([400], () =>
    jsonRequest(`{"body":{"stringValue":"${"\\u0001".repeat(INFLATED_BYTES / 6 - 100)}"}}`),
  ),
  "escapes in each record": json([200, 400], () =>
    jsonRequest(
      Array.from(
        { length: 5 },
        () => `{"body":{"stringValue":"${"\\u00e9".repeat((4 * MIB) / 6 - 100)}"}}`,
      ).join(","),
    ),
  ),
  "records of two bytes": protobuf([400], () =>
    request(repeated(Buffer.from([18, 0]), INFLATED_BYTES - 100)),
  ),
  "as many empty records as may be": protobuf([200, 400], () =>
    request(repeated(Buffer.from([18, 0]), 2 * (1 << 18))),
  ),
  "empty records in JSON": json([400], () => jsonRequest(list("{}", INFLATED_BYTES - 300))),
  "200 000 empty records in JSON": json([200, 400], () => jsonRequest(list("{}", 600_000))),
  "records in the reverse of their order": protobuf([200], () =>
    request(
      many(100_000, (index) => {
        const time = Buffer.alloc(9);
        time[0] = 9;
        time.writeBigUInt64LE(1760347644339163000n - BigInt(index), 1);
        return field(2, time, field(5, text("x")));
      }),
    ),
  ),
  "distinct scopes": protobuf([200, 400], () =>
    field(
      1,
      distinct(
        INFLATED_BYTES - 100,
        field(2, field(1, text(`orchestrator.scope-${NUMBER}`)), field(2, field(5, text("x")))),
      ),
    ),
  ),
  "distinct scopes in JSON": json([200, 400], () =>
    Buffer.from(
      `{"resourceLogs":[{"scopeLogs":[${numbered(INFLATED_BYTES - 300, (index) => `{"scope":{"name":"orchestrator.scope-${index}"},"logRecords":[{}]}`)}]}]}`,
    ),
  ),
  "scopes without records": protobuf([200, 400], () =>
    field(1, repeated(Buffer.from([18, 0]), INFLATED_BYTES - 100)),
  ),
  "resources without records": protobuf([200, 400], () =>
    repeated(Buffer.from([10, 0]), INFLATED_BYTES),
  ),
  "unknown fields": protobuf([200, 400], () => repeated(Buffer.from([0x78, 0]), INFLATED_BYTES)),
  "unknown fields in each record": protobuf([200, 400], () =>
    request(
      Buffer.concat(
        Array.from({ length: 5 }, () => field(2, repeated(Buffer.from([0x78, 0]), 4 * MIB - 100))),
      ),
    ),
  ),
  "unknown members in JSON": json([200, 400], () =>
    Buffer.from(`{"x":[${list("1", INFLATED_BYTES - 300)}]}`),
  ),
  "unknown members in each record, in JSON": json([200, 400], () =>
    jsonRequest(Array.from({ length: 5 }, () => `{"x":[${list("1", 4 * MIB - 300)}]}`).join(",")),
  ),
  "a large resource": protobuf([400], () =>
    field(
      1,
      field(1, distinct(INFLATED_BYTES - 100, field(1, keyed(`r${NUMBER}`, text("x"))))),
      field(2, field(2)),
    ),
  ),
  digits: json([400], () =>
    jsonRequest(`{"body":{"intValue":${"9".repeat(INFLATED_BYTES - 300)}}}`),
  ),
  "digits in each record": json([200, 400], () =>
    jsonRequest(
      Array.from({ length: 5 }, () => `{"body":{"intValue":"${"9".repeat(4 * MIB - 100)}"}}`).join(
        ",",
      ),
    ),
  ),
  base64: json([200, 400], () =>
    jsonRequest(
      Array.from(
        { length: 5 },
        () => `{"body":{"bytesValue":"${"A".repeat(4 * MIB - 100)}"}}`,
      ).join(","),
    ),
  ),
  "white space": json([200, 400], () =>
    Buffer.from(`{"resourceLogs":[${" ".repeat(INFLATED_BYTES - 300)}]}`),
  ),
  "a key again and again": protobuf([200, 400], () =>
    request(record(repeated(field(6, keyed("a", text("x"))), 4 * MIB - 100))),
  ),
  "names that the gateway renames": protobuf([200, 400], () =>
    request(
      record(
        many(60_000, (index) =>
          field(
            6,
            keyed(`${"extra_".repeat(index % 9)}${["id", "type", "level"][index % 3]}`, text("x")),
          ),
        ),
      ),
    ),
  ),
  "what is no UTF-8": protobuf([200, 400], () =>
    request(
      Buffer.concat(
        Array.from({ length: 6 }, () => record(field(5, field(1, Buffer.alloc(2 * MIB, 0xff))))),
      ),
    ),
  ),
  "what is no UTF-8, in JSON": json([200, 400], () =>
    Buffer.concat([
      Buffer.from('{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"'),
      Buffer.alloc(4 * MIB - 500, 0xff),
      Buffer.from('"}}]}]}]}'),
    ]),
  ),
  "20 MiB of ordinary records in JSON": json([200], () =>
    jsonRequest(numbered(INFLATED_BYTES - 300, ordinary)),
  ),
  "20 MiB of ordinary records in a rare form of JSON": json([200], () =>
    jsonRequest(
      numbered(INFLATED_BYTES - 300, (index) =>
        ordinary(index).replace('"severityText"', '"eventName":null,"severityText"'),
      ),
    ),
  ),
  "20 MiB of audit events in JSON": json([200], () =>
    jsonRequest(numbered(INFLATED_BYTES - 300, ordinary), "orchestrator.audit"),
  ),
  "audit events with keys": protobuf([200, 400], () =>
    request(
      distinct(12 * MIB, record(field(6, keyed("log.record.uid", text(`key-${NUMBER}`))))),
      "orchestrator.audit",
    ),
  ),
  "a name of 4 MB": protobuf([200, 400], () =>
    request(record(field(6, keyed("\u2028".repeat(1_390_000), text("x"))))),
  ),
  "a text of 1 MiB": json([200], () =>
    jsonRequest(`{"body":{"stringValue":"${"word ".repeat(MIB / 5)}"}}`),
  ),
};

export function gzipped({ body }: HeavyRequest): Buffer {
  return gzipSync(body(), { level: 1 });
}
