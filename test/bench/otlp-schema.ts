import protobuf from "protobufjs";

/** The parts of opentelemetry-proto 1.x that a logs request consists of, by field number. */
export const LOGS_PROTO = `
  syntax = "proto3";
  message ExportLogsServiceRequest { repeated ResourceLogs resource_logs = 1; }
  message ResourceLogs {
    Resource resource = 1;
    repeated ScopeLogs scope_logs = 2;
    string schema_url = 3;
  }
  message Resource { repeated KeyValue attributes = 1; uint32 dropped_attributes_count = 2; }
  message ScopeLogs {
    InstrumentationScope scope = 1;
    repeated LogRecord log_records = 2;
    string schema_url = 3;
  }
  message InstrumentationScope {
    string name = 1;
    string version = 2;
    repeated KeyValue attributes = 3;
    uint32 dropped_attributes_count = 4;
  }
  message LogRecord {
    fixed64 time_unix_nano = 1;
    fixed64 observed_time_unix_nano = 11;
    int32 severity_number = 2;
    string severity_text = 3;
    AnyValue body = 5;
    repeated KeyValue attributes = 6;
    uint32 dropped_attributes_count = 7;
    fixed32 flags = 8;
    bytes trace_id = 9;
    bytes span_id = 10;
    string event_name = 12;
  }
  message KeyValue { string key = 1; AnyValue value = 2; }
  message AnyValue {
    oneof value {
      string string_value = 1;
      bool bool_value = 2;
      int64 int_value = 3;
      double double_value = 4;
      ArrayValue array_value = 5;
      KeyValueList kvlist_value = 6;
      bytes bytes_value = 7;
    }
  }
  message ArrayValue { repeated AnyValue values = 1; }
  message KeyValueList { repeated KeyValue values = 1; }
`;

const { root } = protobuf.parse(LOGS_PROTO);

export const LogsRequest = root.lookupType("ExportLogsServiceRequest");

/** A 64-bit number as protobufjs decodes it: two halves of 32 bits. */
export interface Long {
  readonly low: number;
  readonly high: number;
  toNumber(): number;
}

/** A request as protobufjs decodes it, as far as one of typical records needs it. */
export interface DecodedRequest {
  readonly resourceLogs: readonly {
    readonly resource: { readonly attributes: readonly DecodedAttribute[] };
    readonly scopeLogs: readonly {
      readonly scope: { readonly name: string };
      readonly logRecords: readonly DecodedRecord[];
    }[];
  }[];
}

export interface DecodedRecord {
  readonly timeUnixNano: Long;
  readonly severityText: string;
  readonly body: DecodedValue;
  readonly attributes: readonly DecodedAttribute[];
  readonly traceId: Uint8Array;
  readonly spanId: Uint8Array;
}

export interface DecodedAttribute {
  readonly key: string;
  readonly value: DecodedValue;
}

/** Only the member named by `value` is set. */
export interface DecodedValue {
  readonly value: "stringValue" | "intValue" | "kvlistValue";
  readonly stringValue: string;
  readonly intValue: Long;
  readonly kvlistValue: { readonly values: readonly DecodedAttribute[] };
}
