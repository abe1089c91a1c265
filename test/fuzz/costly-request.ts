import type { Random } from "./random.ts";

/** Returns a JSON request of about `bytes` bytes that may be far more expensive to read than its size suggests. */
export function costlyRequest(random: Random, bytes: number): Buffer {
  return Buffer.from(random.pick(SHAPES)(bytes));
}

const OPEN = '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1760347644339163000",';
const CLOSE = "}]}]}]}";

const SHAPES: readonly ((bytes: number) => string)[] = [
  // Deep nesting, in all places and spellings.
  (bytes) => "[".repeat(bytes),
  (bytes) => '{"a":'.repeat(bytes / 5),
  (bytes) => `${"[".repeat(bytes / 2)}${"]".repeat(bytes / 2)}`,
  (bytes) => `{"resourceLogs":[],"unknown":${"[".repeat(bytes / 2)}${"]".repeat(bytes / 2)}}`,
  (bytes) => nested('{"arrayValue":{"values":[', "]}}", bytes),
  (bytes) => nested('{"kvlistValue":{"values":[{"key":"k","value":', "}]}}", bytes),
  // Many elements.
  (bytes) => attributes(bytes, (index) => `{"key":"k${index}","value":{"intValue":"1"}}`),
  (bytes) => attributes(bytes, () => '{"key":"level","value":{}}'),
  (bytes) => attributes(bytes, (index) => `{"key":"code.${index}","value":{"stringValue":""}}`),
  (bytes) => body(`{"kvlistValue":{"values":[${list(bytes, (index) => `{"key":"${index}"}`)}]}}`),
  (bytes) => body(`{"arrayValue":{"values":[${list(bytes, () => "{}")}]}}`),
  (bytes) => `{"resourceLogs":[${list(bytes, () => "{}")}]}`,
  (bytes) => `{"resourceLogs":[{"scopeLogs":[{"logRecords":[${list(bytes, () => "{}")}]}]}]}`,
  // Strings that need escaping, and numbers with many digits.
  (bytes) => body(`{"stringValue":"${"\\u0001".repeat(bytes / 6)}"}`),
  (bytes) => body(`{"stringValue":"${'\\"'.repeat(bytes / 2)}"}`),
  (bytes) => body(`{"bytesValue":"${"A".repeat(bytes & ~3)}"}`),
  (bytes) => body(`{"intValue":${"9".repeat(bytes)}}`),
  (bytes) => body(`{"doubleValue":"${"9".repeat(bytes)}"}`),
  (bytes) => `${OPEN}"traceId":"${"ab".repeat(bytes / 2)}"${CLOSE}`,
  (bytes) => `${OPEN}"severityText":"${"ı".repeat(bytes / 2)}"${CLOSE}`,
  (bytes) => " ".repeat(bytes),
  (bytes) =>
    `{"resourceLogs":[{"scopeLogs":[{"scope":{"name":"${"a.".repeat(bytes / 2)}"},"logRecords":[{},{},{}]}]}]}`,
];

function nested(open: string, close: string, bytes: number): string {
  const levels = Math.floor(bytes / (open.length + close.length));
  return body(`${open.repeat(levels)}{}${close.repeat(levels)}`);
}

function attributes(bytes: number, attribute: (index: number) => string): string {
  return `${OPEN}"attributes":[${list(bytes, attribute)}]${CLOSE}`;
}

function body(value: string): string {
  return `${OPEN}"body":${value}${CLOSE}`;
}

/** Returns as many elements as fit into about `bytes` bytes. */
function list(bytes: number, element: (index: number) => string): string {
  const length = Math.max(1, Math.floor(bytes / (element(1_000_000).length + 1)));
  return Array.from({ length }, (_, index) => element(index)).join(",");
}
