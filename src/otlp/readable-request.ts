import { ProtobufReader, ProtobufWriter } from "./protobuf.ts";
import { REQUEST, RESOURCE_LOGS, SCOPE_LOGS } from "./schema.ts";

/** The tags of a message around records: of what it contains, of its resource or scope, and of its schema URL. */
interface AroundRecords {
  readonly contents: number;
  readonly single: readonly number[];
}

const AROUND_REQUEST: AroundRecords = { contents: REQUEST.tags.resourceLogs, single: [] };
const AROUND_RESOURCE: AroundRecords = {
  contents: RESOURCE_LOGS.tags.scopeLogs,
  single: [RESOURCE_LOGS.tags.resource, RESOURCE_LOGS.tags.schemaUrl],
};
const AROUND_SCOPE: AroundRecords = {
  contents: SCOPE_LOGS.tags.logRecords,
  single: [SCOPE_LOGS.tags.scope, SCOPE_LOGS.tags.schemaUrl],
};

/**
 * Returns an ExportLogsServiceRequest without what nobody reads around its records: unknown fields, resources and scopes that
 * later ones supersede, and records in the deprecated field. Records, and the resource and the scope that count, keep their
 * bytes.
 * @throws TailgateError OTLP_UNDECODABLE
 */
export function readableRequest(request: Uint8Array): Uint8Array {
  return readable(request, AROUND_REQUEST, (resourceLogs) =>
    readable(resourceLogs, AROUND_RESOURCE, (scopeLogs) =>
      readable(scopeLogs, AROUND_SCOPE, (record) => record),
    ),
  );
}

function readable(
  message: Uint8Array,
  { contents, single }: AroundRecords,
  readableContent: (content: Uint8Array) => Uint8Array,
): Uint8Array {
  const reader = new ProtobufReader(message);
  const writer = new ProtobufWriter();
  const last = new Map<number, Uint8Array>();
  while (reader.position < message.length) {
    const tag = reader.field(message.length);
    if (tag === contents) {
      writer.bytes(tag, readableContent(message.subarray(reader.start, reader.end)));
    } else if (single.includes(tag)) {
      last.set(tag, message.subarray(reader.start, reader.end));
    } else reader.ignore(tag, message.length, 0);
  }
  for (const [tag, content] of last) writer.bytes(tag, content);
  return writer.take();
}
