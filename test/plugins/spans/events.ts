import type { LogRecord, Value, ValueMap } from "tailgate/plugin";

const AUDIT = { name: "orchestrator.audit", version: "", attributes: new Map() };

/** 2025-10-13T09:27:24Z. */
const START_NANOS = 1_760_347_644_000_000_000n;

export function nanosAt(atMs: number): bigint {
  return START_NANOS + BigInt(Math.round(atMs * 1e6));
}

interface Plain {
  readonly [key: string]: Value | Plain;
}

/**
 * An audit event of an instance, `atMs` after the start of the examples; by default INFO without a
 * trace.
 */
export function auditEvent(
  atMs: number,
  type: string,
  instanceId: string,
  details: Plain = {},
  more: Partial<LogRecord> = {},
): Partial<LogRecord> {
  return {
    timestamp: nanosAt(atMs),
    body: type,
    scope: AUDIT,
    attributes: valueMap({ event_type: type, instance_id: instanceId, details }),
    ...more,
  };
}

export function valueMap(plain: Plain): ValueMap {
  return new Map(
    Object.entries(plain).map(([key, value]) => [key, isPlain(value) ? valueMap(value) : value]),
  );
}

function isPlain(value: Value | Plain): value is Plain {
  return value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
